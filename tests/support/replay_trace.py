#!/usr/bin/env python3
"""Re-runs the stored training traces from cases.json alone, by torch_nhwc.py and hand-written optimizers, in float64 and
float32, and compares with what Keras and PyTorch stored: losses, and each weight tensor's difference relative to its own
largest change. Shows that the stored description is complete and how much of the tests' bounds rounding uses up.

    replay_trace.py [--out tests/vectors]        exits 1 where a bound (losses 1e-3, weights 1e-2) is passed
"""
import argparse
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

import torch_nhwc as T
import vectorfile as V


class Optimizer:
    def __init__(self, spec, params):
        self.cls, self.o, self.params, self.t = spec["class"], spec["opts"], params, 0
        self.m = [torch.zeros_like(p) for p in params]
        self.v = [torch.zeros_like(p) for p in params]

    def step(self, grads):
        o = self.o
        lr = o["lr"] / (1 + o.get("lr_decay", 0.0) * self.t)
        self.t += 1
        with torch.no_grad():
            for p, g, m, v in zip(self.params, grads, self.m, self.v):
                if self.cls == "RMSprop":
                    v.mul_(o["alpha"]).add_(g * g * (1 - o["alpha"]))
                    p.sub_(lr * g / (v.sqrt() + o["eps"]))
                else:
                    b1, b2 = o["betas"]
                    m.mul_(b1).add_(g * (1 - b1))
                    v.mul_(b2).add_(g * g * (1 - b2))
                    p.sub_(lr * (m / (1 - b1 ** self.t)) / ((v / (1 - b2 ** self.t)).sqrt() + 1e-8))


def replay(c, t, dtype):
    def net(spec, prefix):
        p = {k[5:]: torch.from_numpy(np.array(v)).to(dtype) for k, v in t.items() if k.startswith("init." + prefix)}
        names = [k for k in p if "running" not in k and k not in c["held"]]
        for k in names:
            p[k].requires_grad_(True)

        def run(x, training=True):
            after = {}
            y = T.forward(spec, p, x, training, after, prefix)
            p.update(after)
            return y

        return p, names, run

    gp, gn, G = net(c["generator"], "G.")
    dp, dn, D = net(c["discriminator"], "D.")
    od = Optimizer(c["d_optimizer"], [dp[k] for k in dn])
    og = Optimizer(c["g_optimizer"], [gp[k] for k in gn])
    sp = F.softplus
    latent = lambda k, i: torch.from_numpy(np.array(t[k][i])).to(dtype)
    d_losses, g_losses = [], []
    for i in range(c["steps"]):
        real = torch.from_numpy(np.array(t["real"][c["real_batch"][i] - 1])).to(dtype) * c["real_scale"] + c["real_shift"]
        reuse = c["fakes"] == "reuse"
        fake = G(latent("latent" if reuse else "latent_d", i), c["d_fake_mode"] == "train")
        if c["d_batch"] == "joint":
            s = D(torch.cat([real, fake.detach()]))
            r, f = s[:c["batch"]], s[c["batch"]:]
        else:
            r, f = D(real), D(fake.detach())
        d = sp(-r).mean() + sp(f).mean()
        d = d * (0.5 if c["d_reduction"] == "mean" else 1.0)
        od.step(torch.autograd.grad(d, od.params))
        if not reuse:
            fake = G(latent("latent_g", i), True)
        g = sp(-D(fake)).mean()
        og.step(torch.autograd.grad(g, og.params))
        d_losses.append(d.item())
        g_losses.append(g.item())
    return d_losses, g_losses, {**gp, **dp}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors"))
    a = p.parse_args()
    torch.set_num_threads(1)
    with open(os.path.join(a.out, "cases.json")) as f:
        doc = json.load(f)
    bad = False
    for name in ("trace_book", "trace_dcgan64"):
        c, t = doc[name], V.read(os.path.join(a.out, doc[name]["file"]))
        for dtype in (torch.float64, torch.float32):
            d, g, final = replay(c, t, dtype)
            loss = max(np.max(np.abs(np.array(x) - t[k]) / np.abs(t[k])) for x, k in ((d, "d_loss"), (g, "g_loss")))
            errors = []
            for k, v in final.items():
                want, init = t["final." + k].astype(np.float64), t["init." + k].astype(np.float64)
                change = np.abs(want - init).max()
                if k in c["held"]:
                    assert change == 0
                    continue
                e = np.abs(v.detach().numpy() - want).max() / change
                if k not in c["excepted"]:
                    errors.append((e, k))
                else:
                    print("  excepted %s: %.1e" % (k, e))
            errors.sort(reverse=True)
            print("%s %s: losses %.1e; weights" % (name, str(dtype)[6:], loss), ", ".join("%s %.1e" % (k, e) for e, k in errors[:4]))
            bad |= bool(loss > 1e-3 or errors[0][0] > 1e-2)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
