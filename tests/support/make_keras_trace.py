#!/usr/bin/env python3
"""Writes tests/vectors/trace_book.safetensors: twenty training steps of a narrow copy (channels / 8) of the Keras book's
DCGAN on MNIST, run by Keras in float32 from stored weights, batches and latents.

    make_keras_trace.py --data DIR [--out tests/vectors]     DIR holds MNIST's train-images-idx3-ubyte.gz
    make_keras_trace.py --verify                             checks the stored vectors of Keras 3's RMSprop against Keras

replay_trace.py re-runs the stored trace by other means. One step, as in the book (Atienza, Advanced Deep Learning with
Keras, ch. 4): D on 16 real and 16 fake images in one batch, real first, fakes from G.predict (inference mode); then G in
training mode on fresh latents through the frozen D. Binary cross-entropy on logits (the book's sigmoid and clamped
probabilities give the same numbers while no probability comes near the clamp).

Two deviations from Keras 3, so that the trace follows the book's Keras 2 and Forger's definitions:
- RMSprop is subclassed: epsilon outside the root, learning rate lr / (1 + decay t) with t = 0 at the first update;
- BatchNormalization is subclassed: the moving variance takes the batch's unbiased variance, n/(n-1) times Keras 3's
  biased one (the fakes for D come from inference mode, so this is seen in the losses). Outputs of training mode are
  Keras's own.

The exact gradient of G's convolution biases directly before a batch norm is zero. In float32 it is rounding noise, which
RMSprop turns into steps, and these reach the losses through inference mode (running means lag behind the biases). So that
the trace judges programs and not their noise, these biases are HELD at their initial zero, as exact arithmetic would.

As in make_torch_trace.py, a step in which an input of a ReLU or LeakyReLU comes within 3e-6 of its layer's RMS to the kink
at zero is repeated with other data. (Exact zeros stay: black pixels, and convolutions of them while a bias is still zero.
There the slope is that of the negative side, in Keras, PyTorch and Forger.)
"""
import argparse
import gzip
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
import numpy as np

import vectorfile as V

STEPS, BATCH, DIM, SEED, KINK = 20, 16, 100, 20260, 3e-6
D_LR, D_DECAY, G_LR, G_DECAY = 2e-4, 6e-8, 1e-4, 3e-8
HELD = ["G.5.bias", "G.8.bias", "G.11.bias"]
GENERATOR, DISCRIMINATOR = ((16, 2), (8, 2), (4, 1), (1, 1)), ((4, 2), (8, 2), (16, 2), (32, 1))


def layer(cls, *args, **opts):
    return {"class": cls, "args": list(args), "opts": opts}


def networks():
    """The same networks as lists for Forger's nn.Sequential."""
    bn = lambda c: layer("BatchNorm", c, eps=1e-3, momentum=0.01)
    g, c = [layer("Linear", DIM, 7 * 7 * 16), layer("Reshape", 7, 7, 16)], 16
    for co, st in GENERATOR:
        g += [bn(c), layer("ReLU"), layer("ConvTranspose2d", c, co, 5, stride=st, padding="same")]
        c = co
    g.append(layer("Sigmoid"))
    d, c = [], 1
    for co, st in DISCRIMINATOR:
        d += [layer("LeakyReLU", 0.2), layer("Conv2d", c, co, 5, stride=st, padding="same")]
        c = co
    return g, d + [layer("Flatten"), layer("Linear", 4 * 4 * 32, 1)]


def keras_parts():
    import tensorflow as tf
    import keras
    from keras import layers as L

    class UnbiasedBatchNorm(L.BatchNormalization):
        def call(self, inputs, training=None, mask=None):
            y = super().call(inputs, training=training, mask=mask)
            if training and self.trainable:
                n = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
                var = tf.math.reduce_variance(inputs, axis=list(range(len(inputs.shape) - 1)))
                self.moving_variance.assign_add((1.0 - self.momentum) * var / (n - 1.0))
            return y

    class BookRMSprop(keras.optimizers.RMSprop):
        def __init__(self, lr, decay):
            super().__init__(keras.optimizers.schedules.InverseTimeDecay(lr, 1, decay), rho=0.9, epsilon=1e-7)

        def update_step(self, gradient, variable, learning_rate):
            v = self._velocities[self._get_variable_index(variable)]
            self.assign(v, self.rho * v + (1 - self.rho) * tf.square(gradient))
            self.assign_sub(variable, learning_rate * gradient / (tf.sqrt(v) + self.epsilon))

    return tf, keras, L, UnbiasedBatchNorm, BookRMSprop


def state(model, prefix):
    """Weights by Forger's state-dict names. Keras's layer list has the same order; Reshape, Flatten and activations count."""
    out = {}
    for i, l in enumerate(model.layers, 1):
        names = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
                 "moving_variance": "running_var"}
        for w in l.weights:
            out["%s.%d.%s" % (prefix, i, names[w.name])] = np.array(w.numpy())
    return out


def make(a):
    tf, keras, L, Norm, RMSprop = keras_parts()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(SEED)
    g = [keras.Input((DIM,)), L.Dense(7 * 7 * 16), L.Reshape((7, 7, 16))]
    for co, st in GENERATOR:
        g += [Norm(momentum=0.99, epsilon=1e-3), L.ReLU(), L.Conv2DTranspose(co, 5, st, "same")]
    G = keras.Sequential(g + [L.Activation("sigmoid")])
    d = [keras.Input((28, 28, 1))]
    for co, st in DISCRIMINATOR:
        d += [L.LeakyReLU(0.2), L.Conv2D(co, 5, st, "same")]
    D = keras.Sequential(d + [L.Flatten(), L.Dense(1)])

    with gzip.open(os.path.join(a.data, "train-images-idx3-ubyte.gz")) as f:
        images = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)
    rng = np.random.default_rng(SEED)
    t = {}
    for k, v in {**state(G, "G"), **state(D, "D")}.items():
        t["init." + k] = v

    bce = keras.losses.BinaryCrossentropy(from_logits=True)
    d_opt, g_opt = RMSprop(D_LR, D_DECAY), RMSprop(G_LR, G_DECAY)
    d_opt.build(D.trainable_variables)
    held = [G.layers[int(k.split(".")[1]) - 1].bias for k in HELD]
    g_vars = [v for v in G.trainable_variables if not any(v is h for h in held)]
    g_opt.build(g_vars)
    labels = np.concatenate([np.ones((BATCH, 1)), np.zeros((BATCH, 1))]).astype(np.float32)
    nearest = [1.0]

    def run(model, x):
        """model(x, training=True), layer by layer, watching the kinks; D's input itself is data."""
        for i, l in enumerate(model.layers):
            if isinstance(l, (L.ReLU, L.LeakyReLU)) and i > 0:
                h = np.abs(x.numpy())
                nearest[0] = min(nearest[0], float(h[h > 0].min() / np.sqrt((h * h).mean())))
            x = l(x, training=True) if isinstance(l, L.BatchNormalization) else l(x)
        return x

    def step(real, zd, zg):
        fake = G(zd, training=False)
        x = np.concatenate([real.astype(np.float32) / np.float32(255), fake.numpy()])
        with tf.GradientTape() as tape:
            d = bce(labels, run(D, tf.constant(x)))
        d_opt.apply(tape.gradient(d, D.trainable_variables))
        with tf.GradientTape() as tape:
            g = bce(np.ones((BATCH, 1), np.float32), run(D, run(G, tf.constant(zg))))
        g_opt.apply(tape.gradient(g, g_vars))
        return float(d), float(g)

    restored = G.variables + D.variables + d_opt.variables + g_opt.variables
    data, losses, tries = [], [], 0
    for _ in range(STEPS):
        before = [np.array(v.numpy()) for v in restored]
        while True:
            nearest[0], tries = 1.0, tries + 1
            real = images[rng.integers(0, len(images), BATCH)]  # with replacement
            zd, zg = rng.uniform(-1, 1, (2, BATCH, DIM)).astype(np.float32)
            loss = step(real, zd, zg)
            if nearest[0] > KINK:
                break
            for v, b in zip(restored, before):
                v.assign(b)
        data.append((real, zd, zg))
        losses.append(loss)
    t["real"], t["latent_d"], t["latent_g"] = (np.stack(x) for x in zip(*data))
    for k, v in {**state(G, "G"), **state(D, "D")}.items():
        t["final." + k] = v
    t["d_loss"], t["g_loss"] = (np.array(x, np.float32) for x in zip(*losses))
    print("%d tries; (d, g) losses" % tries, losses[0], "->", losses[-1])

    gen, dis = networks()
    V.write(os.path.join(a.out, "trace_book.safetensors"), t, {"made_by": "make_keras_trace.py", "keras": keras.__version__,
            "tensorflow": tf.__version__, "images": "MNIST, CC BY-SA 3.0"})
    rms = lambda lr, decay: {"class": "RMSprop", "opts": {"lr": lr, "alpha": 0.9, "eps": 1e-7, "lr_decay": decay}}
    V.update_cases(os.path.join(a.out, "cases.json"), "trace_book", {
        "file": "trace_book.safetensors", "steps": STEPS, "batch": BATCH, "generator": gen, "discriminator": dis,
        "real_batch": list(range(1, STEPS + 1)), "real_scale": 1 / 255, "real_shift": 0.0, "d_batch": "joint", "d_fake_mode": "eval", "fakes": "fresh", "d_reduction": "mean",
        "d_optimizer": rms(D_LR, D_DECAY), "g_optimizer": rms(G_LR, G_DECAY),
        "held": HELD, "excepted": HELD})


def verify(a):
    """Keras's own RMSprop (epsilon inside the root) against the closed form stored by make_torch_vectors.py."""
    import json
    tf, keras = keras_parts()[:2]
    with open(os.path.join(a.out, "cases.json")) as f:
        cases = [c for c in json.load(f)["cases"] if c["kind"] == "optim" and c["opts"].get("eps_inside")]
    assert cases
    t = V.read(os.path.join(a.out, "optim.safetensors"))
    for c in cases:
        o = keras.optimizers.RMSprop(c["opts"]["lr"], rho=c["opts"]["alpha"], epsilon=c["opts"]["eps"])
        for p in c["params"]:
            key = c["name"] + "."
            v = keras.Variable(t[key + p])
            o = keras.optimizers.RMSprop(c["opts"]["lr"], rho=c["opts"]["alpha"], epsilon=c["opts"]["eps"])
            for i in range(c["steps"]):
                o.apply([tf.constant(t[key + "grad." + p][i])], [v])
                e = V.relative_error(v.numpy(), t[key + "after." + p][i])
                assert e < 1e-6, (c["name"], i, e)
        print(c["name"], "agrees with Keras", keras.__version__)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data")
    p.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors"))
    p.add_argument("--verify", action="store_true")
    a = p.parse_args()
    if not a.data and not a.verify:
        sys.exit("make_keras_trace.py: --data DIR or --verify")
    if a.data:
        make(a)
    if a.verify:
        verify(a)


if __name__ == "__main__":
    main()
