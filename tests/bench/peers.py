#!/usr/bin/env python3
"""Times whole GAN training steps in PyTorch, Keras on TensorFlow, and JAX: the peers of step.lua.

    peers.py --fw torch --work book [--mode eager] [--threads N] [--batch N] [--seconds S]

Prints one JSON line: framework, version, mode, work, threads, batch, median and minimum milliseconds per step, steps
timed, peak resident memory in MB. A step is one update of D and one of G; images are random numbers, since only speed
is measured. compare.lua runs this beside step.lua; the networks of each framework are in a file of their own.

works:
  demo      default preset of dcgan_mnist.lua: R1 (second order) on every D step, Adam, moving average of G, batch 64
  book      the Keras book's DCGAN, 28x28x1, RMSprop, batch 64: D on real and fake as one batch of 128, then G on 64
  dcgan64   the DCGAN paper's 64x64x3 networks (64 features), Adam, batch 64: D on real, D on fake, G
  wgangp    the book's networks, gradient penalty (second order), Adam, batch 64
  mlp       the MLP GAN on 784 pixels with dropout, Adam, batch 128
  toy       2-D GAN: G 2-512-512-512-2, D 2-512-512-512-1, relu, Adam, batch 256
  tiny      2-D GAN: G 2-128-128-2, D 2-128-128-1, relu, Adam, batch 64 (the cost per operation)
  sample1   the book's G alone, batch 1, no gradient (latency)
  sample64  the book's G alone, batch 64, no gradient

modes:
  eager     torch: eager, channels-last where there are images; keras: tf.function; jax: jit
  bf16      the same under the framework's mixed precision (torch.autocast, mixed_bfloat16; jax: casts)
  torch     also eager-nchw and bf16-nchw (the default layout), compile and compile-bf16 (torch.compile)
  keras     also xla and xla-bf16 (jit_compile)
"""
import argparse
import importlib
import json
import os
import resource
import statistics
import sys
import time

BATCH = dict(demo=64, book=64, dcgan64=64, wgangp=64, mlp=128, toy=256, tiny=64, sample1=1, sample64=64)
MODES = dict(
    torch=("eager", "eager-nchw", "bf16", "bf16-nchw", "compile", "compile-bf16"),
    keras=("eager", "bf16", "xla", "xla-bf16"),
    jax=("eager", "bf16"),
)
WARM_UP, FEWEST = 3, 5  # steps before the clock starts (they compile), steps timed however slow they are


def timed(step, seconds):
    """Seconds of each step that ran, FEWEST at least."""
    for _ in range(WARM_UP):
        step()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < FEWEST:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fw", required=True, choices=list(MODES))
    parser.add_argument("--work", required=True, choices=list(BATCH))
    parser.add_argument("--mode", default="eager")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, help="instead of the work's own")
    parser.add_argument("--seconds", type=float, default=10, help="how long to time steps (10)")
    a = parser.parse_args()
    if a.mode not in MODES[a.fw]:
        parser.error("--mode of %s must be one of %s" % (a.fw, " ".join(MODES[a.fw])))
    if a.fw == "jax" and a.work == "demo":
        parser.error("demo is for torch and keras only")
    a.batch = a.batch or BATCH[a.work]
    return a


def main():
    a = options()
    os.environ["OMP_NUM_THREADS"] = str(a.threads)  # read when the framework is imported
    sys.dont_write_bytecode = True  # leaves nothing in the tree
    step, version = importlib.import_module("peers_" + a.fw).make_step(a.work, a.mode, a.batch, a.threads)
    times = timed(step, a.seconds)
    print(json.dumps(dict(
        fw=a.fw, version=version, mode=a.mode, work=a.work, threads=a.threads, batch=a.batch,
        ms=round(1e3 * statistics.median(times), 3), min_ms=round(1e3 * min(times), 3), steps=len(times),
        rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )))


if __name__ == "__main__":
    sys.exit(main())
