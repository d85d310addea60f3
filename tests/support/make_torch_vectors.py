#!/usr/bin/env python3
"""Writes the stored vectors that the tests compare Forger with: PyTorch's results for ops, layers, losses, second-order
gradients, optimizers, schedules and initialisers.

    make_torch_vectors.py [--out tests/vectors]

Everything is computed in float64 from inputs that are exact in float32, then rounded to float32. Each case is also run in
float32: PyTorch's own float32 error against the stored values must be well under the test's bound of 1e-5, or the case
would be a bad judge; the script prints the worst and fails above 4e-6.
"""
import argparse
import math
import os

import numpy as np
import torch
import torch.nn.functional as F

import torch_nhwc as T
import vectorfile as V

F64 = torch.float64
CASES, FILES, WORST = [], {}, []


class Case:
    """Collects the tensors and the cases.json entry of one case."""

    def __init__(self, file, name, kind, **meta):
        self.name, self.tensors = name, FILES.setdefault(file, {})
        assert name not in [c["name"] for c in CASES], name
        self.meta = dict(name=name, kind=kind, file=file + ".safetensors", **meta)
        self.rng = np.random.default_rng([ord(c) for c in name])  # adding a case changes no other
        CASES.append(self.meta)

    def put(self, role, value):
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        value = np.asarray(value)
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        if value.dtype == np.int64:
            value = value.astype(np.int32)
        assert np.isfinite(value).all(), (self.name, role)
        self.tensors[self.name + "." + role] = value
        return self.name + "." + role

    def normal(self, *shape, scale=1.0, shift=0.0):
        return (self.rng.standard_normal(shape) * scale + shift).astype(np.float32)

    def uniform(self, *shape, lo=0.0, hi=1.0):
        return self.rng.uniform(lo, hi, shape).astype(np.float32)

    def away(self, *shape, gap=0.05):
        """Normal values that keep clear of the kink at zero."""
        x = self.normal(*shape)
        return (np.sign(x) * (np.abs(x) + gap)).astype(np.float32)

    def compare(self, f):
        """f(dtype) -> {role: tensor}, run in float64 and float32; returns the float64 results."""
        good, rough = f(F64), f(torch.float32)
        for role in good:
            e = V.relative_error(rough[role].detach().numpy(), good[role].detach().numpy())
            WORST.append((e, self.name + "." + role))
        return good


def leaves(arrays, dtype):
    out = {}
    for k, a in arrays.items():
        t = torch.from_numpy(np.array(a))
        out[k] = t.to(dtype).requires_grad_(True) if a.dtype == np.float32 else t
    return out


def backward(case, arrays, fn, wanted=None):
    """Stores fn's output, an upstream gradient and the gradients of every float input (or of wanted)."""
    arrays = {k: np.asarray(a) for k, a in arrays.items()}
    wanted = [k for k, a in arrays.items() if a.dtype == np.float32] if wanted is None else wanted
    probe = fn(leaves(arrays, F64))
    dy = np.asarray(case.normal(*probe.shape), np.float32)

    def run(dtype):
        t = leaves(arrays, dtype)
        y = fn(t)
        g = torch.autograd.grad((y * torch.from_numpy(dy).to(dtype)).sum(), [t[k] for k in wanted])
        return dict([("output", y)] + [("grad." + k, v) for k, v in zip(wanted, g)])

    out = case.compare(run)
    for k, a in arrays.items():
        case.put(k, a)
    case.put("dy", dy)
    for k, v in out.items():
        case.put(k, v)
    case.meta["grads"] = wanted


# ------------------------------------------------------------------ ops
def op(name, op_name, inputs, fn, args=(), **more):
    """inputs: list of arrays, or a function of the case; args as Lua takes them (axes from 1)."""
    c = Case("ops", name, "op", op=op_name, args=list(args), **more)
    arrays = inputs(c) if callable(inputs) else inputs
    keys = ["abcd"[i] for i in range(len(arrays))]
    c.meta["inputs"] = keys
    backward(c, dict(zip(keys, arrays)), lambda t: fn(*[t[k] for k in keys]))


def make_ops():
    two = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum, "minimum": torch.minimum}
    shapes = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 1)), ((3, 1), (2, 3, 4)), ((5,), ()), ((1,), (7, 2)), ((4, 1, 3), (1, 5, 1))]
    for o, f in two.items():
        for i, (sa, sb) in enumerate(shapes, 1):
            # b keeps its distance from zero, so that div is well conditioned
            op("%s_%d" % (o, i), o, lambda c, sa=sa, sb=sb: [c.normal(*sa), np.asarray(c.away(*sb, gap=0.5), np.float32)], f)
    unary = [
        ("neg", lambda c: c.normal(3, 5), torch.neg), ("exp", lambda c: c.uniform(3, 37, lo=-5, hi=3), torch.exp),
        ("log", lambda c: c.uniform(3, 37, lo=0.05, hi=9), torch.log), ("sqrt", lambda c: c.uniform(3, 37, lo=0.05, hi=9), torch.sqrt),
        ("square", lambda c: c.normal(3, 37), torch.square), ("abs", lambda c: np.append(c.normal(36), np.float32(0)), torch.abs),
        ("sin", lambda c: c.normal(3, 37, scale=2), torch.sin), ("cos", lambda c: c.normal(3, 37, scale=2), torch.cos),
        ("tanh", lambda c: c.normal(3, 37, scale=2), torch.tanh), ("sigmoid", lambda c: c.normal(3, 37, scale=3), torch.sigmoid),
        ("softplus", lambda c: c.normal(3, 37, scale=3), lambda x: F.softplus(x, threshold=1e9)),
        ("relu", lambda c: np.append(c.normal(110), np.float32(0)), torch.relu),
    ]
    for o, x, f in unary:
        op(o, o, lambda c, x=x: [x(c)], f)
    far = np.array([-80, -30, -5, -0.5, 0.5, 5, 30, 80], np.float32)
    op("tanh_far", "tanh", [far], torch.tanh)
    op("sigmoid_far", "sigmoid", [far], torch.sigmoid)
    op("softplus_far", "softplus", [far], lambda x: torch.logaddexp(x, torch.zeros_like(x)))
    for s in (0.01, 0.2, 0.0):
        op("leaky_relu_%g" % s, "leaky_relu", lambda c: [c.away(4, 29)], lambda x, s=s: F.leaky_relu(x, s), [s])
    # both bounds are among the values: the gradient there is 1
    op("clamp", "clamp", lambda c: [np.append(c.normal(50), np.array([-0.5, 0.75], np.float32))], lambda x: x.clamp(-0.5, 0.75), [-0.5, 0.75])
    for e in (2, 3, 0.5, -1, 1.7):
        op("pow_%g" % e, "pow", lambda c: [c.uniform(3, 20, lo=0.3, hi=3)], lambda x, e=e: x ** e, [e])
    op("pow_3_negative_base", "pow", lambda c: [c.away(3, 20, gap=0.2)], lambda x: x ** 3, [3])
    for o, f in {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}.items():
        x = lambda c: [c.normal(3, 4, 5, 6)]
        op(o + "_all", o, x, f)
        for n, axes in enumerate(([1], [2], [4], [1, 2, 3], [2, 4], [3, 4]), 1):
            zero = tuple(a - 1 for a in axes)
            op("%s_axes_%d" % (o, n), o, x, lambda t, z=zero, f=f: f(t, dim=z), [axes, False])
        op(o + "_keepdim", o, x, lambda t, f=f: f(t, dim=(1, 2), keepdim=True), [[2, 3], True])
        op(o + "_long", o, lambda c: [c.normal(5, 1000, shift=0.3)], lambda t, f=f: f(t, dim=1), [[2], False])
    ties = np.array([[1, 3, 3, 2], [5, 5, 5, 5]], np.float32)
    op("max_ties", "max", [ties], lambda t: torch.amax(t, 1), [[2], False])
    op("log_softmax", "log_softmax", lambda c: [c.normal(6, 10, scale=3)], lambda t: torch.log_softmax(t, -1))
    op("log_softmax_far", "log_softmax", lambda c: [c.normal(6, 33, scale=9, shift=50)], lambda t: torch.log_softmax(t, -1))
    op("reshape", "reshape", lambda c: [c.normal(2, 3, 4)], lambda t: t.reshape(4, 6), [4, 6])
    op("transpose_21", "transpose", lambda c: [c.normal(5, 7)], lambda t: t.permute(1, 0), [2, 1])
    op("transpose_3124", "transpose", lambda c: [c.normal(2, 3, 4, 5)], lambda t: t.permute(2, 0, 1, 3), [3, 1, 2, 4])
    for ax in (1, 2, 3):
        op("cat_%d" % ax, "cat", lambda c, ax=ax: [c.normal(*[n if i + 1 == ax else 3 for i in range(3)]) for n in (2, 1, 4)],
           lambda *t, ax=ax: torch.cat(t, ax - 1), [ax])
        op("slice_%d" % ax, "slice", lambda c: [c.normal(4, 5, 6)], lambda t, ax=ax: t.narrow(ax - 1, 1, 2), [ax, 2, 3])
    for k, (ta, tb) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1)), 1):
        for m, n, q in ((5, 7, 3), (33, 17, 65)):
            op("matmul_%d_%d" % (k, m), "matmul", lambda c, ta=ta, tb=tb, m=m, n=n, q=q: [c.normal(*((q, m) if ta else (m, q))), c.normal(*((n, q) if tb else (q, n)))],
               lambda a, b, ta=ta, tb=tb: (a.T if ta else a) @ (b.T if tb else b), [bool(ta), bool(tb)])
    op("where", "where", lambda c: [c.rng.integers(0, 2, (4, 5)).astype(np.uint8), c.normal(4, 5), c.normal(5)], lambda m, a, b: torch.where(m.bool(), a, b))


# ------------------------------------------------------------------ layers
def layer(name, cls, args, opts, x, train=True, ids=None):
    c = Case("layers", name, "layer", **{"class": cls, "args": args, "opts": opts, "train": train})
    spec = dict(args=args, opts=opts)
    spec["class"] = cls
    arrays = {"input": x(c) if callable(x) else ids}
    shapes = T.shapes(spec)
    fan = float(np.prod(shapes["weight"][:-1])) if "weight" in shapes else 1
    for k, s in shapes.items():
        if k == "running_var":
            arrays[k] = c.uniform(*s, lo=0.5, hi=2)
        elif cls == "BatchNorm" and k == "weight":
            arrays[k] = c.uniform(*s, lo=0.5, hi=1.5)
        else:
            arrays[k] = c.normal(*s, scale=1 / math.sqrt(fan) if k == "weight" else 0.3)
    wanted = [k for k, a in arrays.items() if a.dtype == np.float32 and not k.startswith("running")]
    c.meta["params"] = [k for k in shapes if not k.startswith("running")]
    c.meta["buffers"] = [k for k in shapes if k.startswith("running")]
    backward(c, arrays, lambda t: T.layer(spec, t, "", t["input"], train), wanted)
    if c.meta["buffers"] and train:
        after = {}
        T.layer(spec, leaves(arrays, F64), "", leaves(arrays, F64)["input"], True, after)
        for k, v in after.items():
            c.put("after." + k, v)


def make_layers():
    n = lambda *s, **k: lambda c: c.normal(*s, **k)
    layer("linear", "Linear", [7, 5], {}, n(4, 7))
    layer("linear_no_bias", "Linear", [100, 33], {"bias": False}, n(9, 100))
    layer("linear_one_out", "Linear", [64, 1], {}, n(16, 64))
    conv = [  # in, out, kernel, options, image
        (3, 4, 3, {}, (5, 6)), (3, 8, 4, {"stride": 2, "padding": 1}, (8, 8)), (3, 8, 4, {"stride": 2, "padding": 1}, (9, 7)),
        (1, 8, 5, {"stride": 2, "padding": "same"}, (28, 28)), (8, 16, 5, {"stride": 2, "padding": "same"}, (7, 7)),
        (8, 16, 5, {"padding": "same"}, (4, 4)), (5, 6, 3, {"stride": 2, "padding": "same"}, (8, 8)), (4, 3, 4, {"padding": "same"}, (6, 5)),
        (3, 5, [5, 3], {"stride": [2, 1], "padding": [2, 1]}, (9, 6)), (3, 5, [1, 4], {"stride": [1, 3], "padding": [0, 2]}, (3, 11)),
        (4, 6, 3, {"stride": 2, "padding": [0, 1, 2, 0]}, (6, 7)), (2, 3, 3, {"stride": 3}, (7, 8)), (6, 7, 1, {}, (5, 5)),
        (6, 7, 1, {"stride": 2}, (5, 6)), (32, 1, 4, {"bias": False}, (4, 4)), (17, 33, 3, {"padding": 1, "bias": False}, (7, 5)), (16, 32, 4, {"stride": 2, "padding": 1, "bias": False}, (8, 8)),
        (1, 1, 5, {"padding": 2}, (28, 28)), (3, 4, 3, {"padding": 4}, (3, 3)),
    ]
    for i, (ci, co, k, o, (h, w)) in enumerate(conv, 1):
        layer("conv2d_%d" % i, "Conv2d", [ci, co, k], o, n(2, h, w, ci))
    convt = [
        (3, 4, 3, {}, (5, 6)), (8, 3, 4, {"stride": 2, "padding": 1}, (4, 4)), (8, 3, 4, {"stride": 2, "padding": 1}, (3, 5)),
        (16, 8, 5, {"stride": 2, "padding": "same"}, (7, 7)), (8, 1, 5, {"padding": "same"}, (14, 14)), (8, 1, 5, {"stride": 2, "padding": "same"}, (14, 14)),
        (4, 3, 3, {"stride": 2, "padding": "same"}, (5, 4)), (4, 3, 4, {"padding": "same"}, (5, 4)), (4, 3, 2, {"stride": 3, "padding": "same"}, (3, 4)),
        (6, 5, 5, {"stride": 2, "padding": 2, "output_padding": 1}, (7, 7)), (3, 5, [5, 3], {"stride": [2, 1], "padding": [2, 1], "output_padding": [1, 0]}, (5, 6)),
        (3, 5, 3, {"stride": 3, "output_padding": 2}, (3, 4)), (4, 6, 3, {"stride": 2, "padding": [0, 1, 2, 0]}, (5, 4)),
        (100, 16, 4, {"bias": False}, (1, 1)), (6, 7, 1, {}, (5, 5)), (6, 7, 1, {"stride": 2}, (3, 4)), (33, 17, 3, {"padding": 1, "bias": False}, (7, 5)), (32, 16, 4, {"stride": 2, "padding": 1, "bias": False}, (4, 4)),
    ]
    for i, (ci, co, k, o, (h, w)) in enumerate(convt, 1):
        layer("conv_transpose2d_%d" % i, "ConvTranspose2d", [ci, co, k], o, n(2, h, w, ci))
    for mode in ("train", "eval"):
        layer("batch_norm_2d_" + mode, "BatchNorm", [6], {}, n(8, 6, shift=0.5), mode == "train")
        layer("batch_norm_4d_" + mode, "BatchNorm", [17], {}, n(4, 5, 3, 17, scale=2, shift=-1), mode == "train")
        layer("batch_norm_keras_" + mode, "BatchNorm", [5], {"eps": 1e-3, "momentum": 0.01}, n(6, 4, 4, 5, scale=0.1), mode == "train")
    layer("batch_norm_far_mean", "BatchNorm", [4], {}, n(8, 4, 4, 4, shift=3), True)
    layer("dropout_zero", "Dropout", [0.0], {}, n(4, 9))
    layer("dropout_eval", "Dropout", [0.4], {}, n(4, 9), False)
    rng = np.random.default_rng(5)
    layer("embedding", "Embedding", [11, 6], {}, None, ids=rng.integers(0, 11, (20,)).astype(np.int32))
    layer("embedding_2d", "Embedding", [5, 3], {}, None, ids=rng.integers(0, 5, (4, 3)).astype(np.int32))
    layer("flatten_layer", "Flatten", [], {}, n(3, 4, 5, 2))
    layer("reshape_layer", "Reshape", [4, 5, 2], {}, n(3, 40))
    layer("upsample_2", "Upsample", [2], {}, n(2, 3, 4, 5))
    layer("upsample_3", "Upsample", [3], {}, n(1, 2, 3, 1))
    spread = lambda *s: lambda c: (c.rng.permutation(int(np.prod(s))).reshape(s) / 16 - 3).astype(np.float32)  # no ties
    for i, (k, o, s) in enumerate(((2, {}, (2, 6, 8, 3)), (2, {}, (2, 5, 7, 4)), (3, {"stride": 2, "padding": 1}, (2, 7, 8, 5)), ([3, 2], {"stride": [1, 2]}, (1, 5, 6, 17)), (3, {"stride": 1, "padding": 1}, (1, 4, 4, 2))), 1):
        layer("avg_pool2d_%d" % i, "AvgPool2d", [k], o, n(*s))
        layer("max_pool2d_%d" % i, "MaxPool2d", [k], o, spread(*s))
    for cls, args in (("ReLU", []), ("LeakyReLU", []), ("LeakyReLU", [0.2]), ("Tanh", []), ("Sigmoid", []), ("Softplus", []), ("Identity", [])):
        layer(cls.lower() + "_layer" + "".join("_%g" % a for a in args), cls, args, {}, lambda c: c.away(3, 4, 4, 5))


# ------------------------------------------------------------------ losses
def make_losses():
    def loss(name, loss_name, arrays, fn, wanted, **more):
        c = Case("losses", name, "loss", loss=loss_name, inputs=["a", "b"], **more)
        backward(c, dict(zip("ab", arrays(c))), lambda t: fn(t["a"], t["b"]), wanted)

    labels = lambda c, n, k: c.rng.integers(0, k, n).astype(np.int32)
    each = dict(reduction="none")
    ce = lambda a, b: F.cross_entropy(a, b.long(), reduction="none")
    loss("cross_entropy", "cross_entropy", lambda c: [c.normal(12, 10, scale=2), labels(c, 12, 10)], ce, ["a"], **each)
    loss("cross_entropy_far", "cross_entropy", lambda c: [c.normal(9, 5, scale=20), labels(c, 9, 5)], ce, ["a"], **each)
    bce = lambda a, b: -(b * torch.log(a) + (1 - b) * torch.log1p(-a))  # F.binary_cross_entropy inside the clamp
    p = lambda c, *s: c.uniform(*s, lo=0.02, hi=0.98)
    loss("bce_soft", "bce", lambda c: [p(c, 8, 3), p(c, 8, 3)], bce, ["a"], **each)
    loss("bce_hard", "bce", lambda c: [p(c, 20), c.rng.integers(0, 2, 20).astype(np.float32)], bce, ["a"], **each)
    logits = lambda a, b: F.binary_cross_entropy_with_logits(a, b, reduction="none")
    loss("bce_logits_soft", "bce_logits", lambda c: [c.normal(8, 3, scale=3), p(c, 8, 3)], logits, ["a"], **each)
    loss("bce_logits_far", "bce_logits", lambda c: [c.normal(40, scale=40), c.rng.integers(0, 2, 40).astype(np.float32)], logits, ["a"], **each)
    loss("mse", "mse", lambda c: [c.normal(6, 7), c.normal(6, 7)], lambda a, b: F.mse_loss(a, b), ["a", "b"], reduction="mean")

    # GAN losses on logits. D's is the sum of both halves' means.
    sp = lambda t: F.softplus(t, threshold=1e9)
    gan = {
        "saturating": (lambda r, f: sp(-r).mean() + sp(f).mean(), lambda f, r: -sp(f).mean(), "d: mean softplus(-r) + mean softplus(f); g: -mean softplus(f)"),
        "non_saturating": (lambda r, f: sp(-r).mean() + sp(f).mean(), lambda f, r: sp(-f).mean(), "d: mean softplus(-r) + mean softplus(f); g: mean softplus(-f)"),
        "least_squares": (lambda r, f: ((r - 1) ** 2).mean() + (f ** 2).mean(), lambda f, r: ((f - 1) ** 2).mean(), "d: mean (r-1)^2 + mean f^2; g: mean (f-1)^2"),
        "hinge": (lambda r, f: torch.relu(1 - r).mean() + torch.relu(1 + f).mean(), lambda f, r: -f.mean(), "d: mean relu(1-r) + mean relu(1+f); g: -mean f"),
        "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda f, r: -f.mean(), "d: mean f - mean r; g: -mean f"),
        "relativistic_paired": (lambda r, f: sp(f - r).mean(), lambda f, r: sp(r - f).mean(), "d: mean softplus(f-r); g: mean softplus(r-f)"),
        "relativistic_average": (lambda r, f: sp(f.mean() - r).mean() + sp(f - r.mean()).mean(), lambda f, r: sp(r.mean() - f).mean() + sp(r - f.mean()).mean(),
                                 "d: mean softplus(mean f - r) + mean softplus(f - mean r); g: the same with r and f exchanged"),
    }
    for name, (d, g, formula) in gan.items():
        c = Case("losses", "gan_" + name, "gan_loss", loss=name, formula=formula)
        a = {"real": c.normal(16, 1, scale=2, shift=1), "fake": c.normal(16, 1, scale=2, shift=-1)}

        def run(dtype):
            out = {}
            t = leaves(a, dtype)
            y = d(t["real"], t["fake"])
            out["d"] = y
            out["d.grad.real"], out["d.grad.fake"] = torch.autograd.grad(y, [t["real"], t["fake"]])
            t = leaves(a, dtype)
            y = g(t["fake"], t["real"])
            out["g"] = y
            out["g.grad.fake"], = torch.autograd.grad(y, [t["fake"]])
            return out

        for k, v in {**a, **c.compare(run)}.items():
            c.put(k, v)


# ------------------------------------------------------------------ second order
def spec(cls, *args, **opts):
    return {"class": cls, "args": list(args), "opts": opts}


def make_second():
    conv_net = [spec("Conv2d", 2, 5, 4, stride=2, padding=1), spec("LeakyReLU", 0.2), spec("Conv2d", 5, 6, 3, stride=2, padding="same"),
                spec("LeakyReLU", 0.2), spec("Flatten"), spec("Linear", 24, 1)]
    smooth_net = [spec("Conv2d", 2, 4, 3, padding=1), spec("Tanh"), spec("Conv2d", 4, 5, 4, stride=2, padding=1), spec("Softplus"),
                  spec("Flatten"), spec("Linear", 80, 1)]
    norm_net = [spec("Conv2d", 2, 4, 4, stride=2, padding=1, bias=False), spec("BatchNorm", 4), spec("LeakyReLU", 0.2),
                spec("Conv2d", 4, 6, 3, padding="same"), spec("Sigmoid"), spec("Flatten"), spec("Linear", 96, 1)]
    pool_net = [spec("Conv2d", 2, 4, 3, padding=1), spec("Tanh"), spec("AvgPool2d", 2), spec("Upsample", 2), spec("Conv2d", 4, 4, 3, padding=1),
                spec("MaxPool2d", 2), spec("Tanh"), spec("Flatten"), spec("Linear", 64, 1)]
    mlp = [spec("Linear", 9, 16), spec("Softplus"), spec("Linear", 16, 8), spec("LeakyReLU", 0.2), spec("Linear", 8, 1)]
    up_net = [spec("Linear", 7, 48), spec("Reshape", 4, 4, 3), spec("BatchNorm", 3), spec("ReLU"), spec("ConvTranspose2d", 3, 4, 5, stride=2, padding="same", bias=False),
              spec("BatchNorm", 4), spec("ReLU"), spec("ConvTranspose2d", 4, 2, 4, stride=2, padding=1), spec("Tanh")]

    def case(name, net, xs, penalty, train=True, loss_too=False):
        c = Case("second", name, "second", net=net, penalty=penalty, train=train, add_output=loss_too)
        params, grads = {}, []
        for i, s in enumerate(net, 1):
            for k, shape in T.shapes(s).items():
                fan = float(np.prod(shape[:-1]))
                key = "%d.%s" % (i, k)
                if s["class"] == "BatchNorm":
                    params[key] = c.uniform(*shape, lo=0.5, hi=1.5) if k in ("weight", "running_var") else c.normal(*shape, scale=0.2)
                else:
                    params[key] = c.normal(*shape, scale=1.5 / math.sqrt(fan) if k == "weight" else 0.2)
                if not k.startswith("running"):
                    grads.append(key)
        arrays = {"input": c.normal(*xs), **params}
        probe = T.forward(net, leaves(arrays, F64), leaves(arrays, F64)["input"], train)
        v = c.normal(*probe.shape)
        c.put("v", v)

        def run(dtype):
            t = leaves(arrays, dtype)
            y = (T.forward(net, t, t["input"], train) * torch.from_numpy(v).to(dtype)).sum()
            g, = torch.autograd.grad(y, t["input"], create_graph=True)
            sq = g.square().flatten(1).sum(1)
            p = {"r1": lambda: 5 * sq.mean(), "gp": lambda: 10 * ((torch.sqrt(sq + 1e-12) - 1) ** 2).mean()}[penalty]()
            d = torch.autograd.grad(p + y if loss_too else p, [t[k] for k in grads] + [t["input"]], allow_unused=True)
            out = {"output": p, "gx": g}
            for k, e in zip(grads + ["input"], d):
                out["grad." + k] = e if e is not None else torch.zeros_like(t[k])
            return out

        out = c.compare(run)
        # A gradient that is exactly zero (a bias before a piecewise linear rest) may be absent in Forger.
        c.meta["zero"] = [k for k in grads + ["input"] if float(out["grad." + k].abs().max()) < 1e-13]
        c.meta["grads"] = [k for k in grads + ["input"] if k not in c.meta["zero"]]
        for k, a in {**arrays, **{k: e for k, e in out.items() if k[5:] not in c.meta["zero"]}}.items():
            c.put(k, a)
        c.meta["tensors"] = sorted(params)

    image = (4, 8, 8, 2)
    case("r1_conv", conv_net, image, "r1")
    case("gp_conv", conv_net, image, "gp")
    case("gp_conv_and_loss", conv_net, image, "gp", loss_too=True)
    case("r1_smooth", smooth_net, (4, 8, 8, 2), "r1")
    case("gp_smooth", smooth_net, (4, 8, 8, 2), "gp")
    case("r1_batch_norm", norm_net, image, "r1")
    case("r1_batch_norm_eval", norm_net, image, "r1", train=False)
    case("r1_pool", pool_net, (3, 8, 8, 2), "r1")
    case("gp_mlp", mlp, (6, 9), "gp")
    case("path_generator", up_net, (4, 7), "r1")


# ------------------------------------------------------------------ optimizers, schedules, clipping, EMA
def keras3_rmsprop(p, grads, lr, rho, eps):
    """keras.optimizers.RMSprop of Keras 3: epsilon inside the root. make_keras_trace.py --verify runs Keras itself on it."""
    v, out = np.zeros_like(p), []
    for g in grads:
        v = rho * v + (1 - rho) * g * g
        p = p - lr * g / np.sqrt(v + eps)
        out.append(p)
    return out


def make_optim():
    steps = 10

    def optim(name, cls, opts, make):
        """make(params, grads) -> list over steps of lists of parameter values, all float64."""
        c = Case("optim", name, "optim", opts=opts, steps=steps, params=["p1", "p2"], **{"class": cls})
        p = [c.normal(3, 4), c.normal(17)]
        g = [c.normal(steps, *a.shape) * np.float32(0.5) for a in p]
        for i, (a, b) in enumerate(zip(p, g), 1):
            c.put("p%d" % i, a)
            c.put("grad.p%d" % i, b)
        out = make([a.astype(np.float64) for a in p], [b.astype(np.float64) for b in g])
        for i in range(len(p)):
            c.put("after.p%d" % (i + 1), np.stack([o[i] for o in out]))

    def with_torch(cls, decay=0.0, lr=None, **kw):
        def make(ps, gs):
            params = [torch.tensor(a, requires_grad=True) for a in ps]
            o = cls(params, lr=lr, **kw)
            out = []
            for t in range(steps):
                o.param_groups[0]["lr"] = lr / (1 + decay * t)  # Keras 2's decay
                for p, g in zip(params, gs):
                    p.grad = torch.tensor(g[t])
                o.step()
                out.append([p.detach().numpy().copy() for p in params])
            return out
        return make

    O = torch.optim
    optim("sgd", "SGD", {"lr": 0.1}, with_torch(O.SGD, lr=0.1))
    optim("sgd_momentum", "SGD", {"lr": 0.1, "momentum": 0.9}, with_torch(O.SGD, lr=0.1, momentum=0.9))
    optim("sgd_nesterov", "SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}, with_torch(O.SGD, lr=0.05, momentum=0.9, nesterov=True))
    optim("sgd_weight_decay", "SGD", {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.05}, with_torch(O.SGD, lr=0.1, momentum=0.5, weight_decay=0.05))
    optim("rmsprop", "RMSprop", {"lr": 0.01}, with_torch(O.RMSprop, lr=0.01))
    optim("rmsprop_book", "RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-7, "lr_decay": 0.1}, with_torch(O.RMSprop, 0.1, lr=0.01, alpha=0.9, eps=1e-7))
    # epsilon large enough that its place is seen
    optim("rmsprop_eps_outside", "RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 0.1}, with_torch(O.RMSprop, lr=0.01, alpha=0.9, eps=0.1))
    inside = lambda eps: lambda ps, gs: list(zip(*[keras3_rmsprop(p, g, 0.01, 0.9, eps) for p, g in zip(ps, gs)]))
    optim("rmsprop_eps_inside", "RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 0.1, "eps_inside": True}, inside(0.1))
    optim("rmsprop_keras3", "RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-7, "eps_inside": True}, inside(1e-7))
    optim("adam", "Adam", {"lr": 0.01}, with_torch(O.Adam, lr=0.01))
    optim("adam_gan", "Adam", {"lr": 2e-4, "betas": [0.5, 0.999]}, with_torch(O.Adam, lr=2e-4, betas=(0.5, 0.999)))
    optim("adam_no_momentum", "Adam", {"lr": 2e-3, "betas": [0.0, 0.99]}, with_torch(O.Adam, lr=2e-3, betas=(0.0, 0.99)))
    optim("adam_eps", "Adam", {"lr": 0.01, "eps": 0.1}, with_torch(O.Adam, lr=0.01, eps=0.1))
    optim("adam_weight_decay", "Adam", {"lr": 0.01, "weight_decay": 0.1}, with_torch(O.Adam, lr=0.01, weight_decay=0.1))
    optim("adam_lr_decay", "Adam", {"lr": 0.01, "lr_decay": 0.25}, with_torch(O.Adam, 0.25, lr=0.01))
    optim("adamw", "AdamW", {"lr": 0.01}, with_torch(O.AdamW, lr=0.01))
    optim("adamw_decay", "AdamW", {"lr": 0.05, "betas": [0.8, 0.9], "weight_decay": 0.2}, with_torch(O.AdamW, lr=0.05, betas=(0.8, 0.9), weight_decay=0.2))

    # Learning rates at updates t = 0, 1, ...: constant until `start`, then to `final` * lr at `steps`.
    def schedule(name, kind, lr, total, start=0, final=0.0):
        p = torch.zeros(1, dtype=F64, requires_grad=True)
        o = O.SGD([p], lr=lr)
        n = total - start
        down = O.lr_scheduler.LinearLR(o, 1.0, final, n) if kind == "linear" else O.lr_scheduler.CosineAnnealingLR(o, n, final * lr)
        rates = [lr] * start
        for _ in range(n + 1):
            rates.append(o.param_groups[0]["lr"])
            o.step()
            down.step()
        CASES.append(dict(name=name, kind="schedule", schedule=kind, lr=lr, steps=total, start=start, final=final, rates=rates))

    schedule("schedule_linear", "linear", 0.1, 10)
    schedule("schedule_linear_last_40_percent", "linear", 2e-3, 20, 12, 0.01)
    schedule("schedule_cosine", "cosine", 0.1, 10)
    schedule("schedule_cosine_floor", "cosine", 2e-3, 20, 0, 0.1)

    for name, top in (("clip_grad_norm", 1.5), ("clip_grad_norm_idle", 100.0)):
        c = Case("optim", name, "clip", max_norm=top, params=["p1", "p2"])
        g = [c.normal(3, 4), c.normal(17)]
        ps = [torch.zeros(a.shape, dtype=F64, requires_grad=True) for a in g]
        for i, (p, a) in enumerate(zip(ps, g), 1):
            p.grad = torch.tensor(a.astype(np.float64))
            c.put("grad.p%d" % i, a)
        c.meta["norm"] = float(torch.nn.utils.clip_grad_norm_(ps, top))
        for i, p in enumerate(ps, 1):
            c.put("after.p%d" % i, p.grad)

    # EMA: average += (1 - d) (value - average), d = min(decay, (1+t)/(10+t)), t = 0 at the first update.
    for name, decay, n in (("ema_warm_up", 0.999, 12), ("ema_low", 0.3, 8)):
        c = Case("optim", name, "ema", decay=decay, steps=n)
        avg = c.normal(5, 3)
        vals = c.normal(n, 5, 3)
        c.put("p", avg)
        c.put("values", vals)
        avg, out = avg.astype(np.float64), []
        for t in range(n):
            d = min(decay, (1 + t) / (10 + t))
            avg = d * avg + (1 - d) * vals[t].astype(np.float64)
            out.append(avg)
        c.put("after.p", np.stack(out))


# ------------------------------------------------------------------ initialisers
def make_init():
    import torch.nn as nn
    fan = nn.init._calculate_fan_in_and_fan_out
    makers = {"Linear": nn.Linear, "Conv2d": nn.Conv2d, "ConvTranspose2d": nn.ConvTranspose2d, "Embedding": nn.Embedding}
    for cls, args in (("Linear", [100, 784]), ("Linear", [512, 256]), ("Conv2d", [16, 64, 5]), ("Conv2d", [8, 64, [3, 5]]), ("ConvTranspose2d", [64, 16, 5]),
                      ("ConvTranspose2d", [16, 64, [4, 2]]), ("Embedding", [50, 40])):
        a = [tuple(v) if isinstance(v, list) else v for v in args]
        m = makers[cls](*a)
        d = dict(name="init_%s_%s" % (cls.lower(), "x".join(str(v) for v in a).replace(" ", "")), kind="init", **{"class": cls, "args": args, "opts": {}})
        if cls == "Embedding":
            d["default"] = {"weight": {"dist": "normal", "std": 1.0}}
        else:
            fan_in, fan_out = fan(m.weight)
            bound = math.sqrt(2 / (1 + 5)) * math.sqrt(3 / fan_in)  # kaiming_uniform_(a = sqrt 5)
            assert float(m.weight.detach().abs().max()) <= bound
            assert float(m.bias.detach().abs().max()) <= 1 / math.sqrt(fan_in)
            d["default"] = {"weight": {"dist": "uniform", "bound": bound}, "bias": {"dist": "uniform", "bound": 1 / math.sqrt(fan_in)}}
            d["keras"] = {"weight": {"dist": "uniform", "bound": math.sqrt(6 / (fan_in + fan_out))}, "bias": {"dist": "constant", "value": 0}}
            d["dcgan"] = {"weight": {"dist": "normal", "std": 0.02}}
        CASES.append(d)
    CASES.append({"name": "init_batchnorm", "kind": "init", "class": "BatchNorm", "args": [2000], "opts": {},
                  "default": {"weight": {"dist": "constant", "value": 1}, "bias": {"dist": "constant", "value": 0}},
                  "keras": {"weight": {"dist": "constant", "value": 1}, "bias": {"dist": "constant", "value": 0}},
                  "dcgan": {"weight": {"dist": "normal", "mean": 1.0, "std": 0.02}, "bias": {"dist": "constant", "value": 0}}})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors"))
    a = p.parse_args()
    torch.set_num_threads(1)
    T.check()
    make_ops()
    make_layers()
    make_losses()
    make_second()
    make_optim()
    make_init()
    WORST.sort(reverse=True)
    for e, name in WORST[:8]:
        print("float32 error %.1e  %s" % (e, name))
    assert WORST[0][0] < 4e-6, "a case too ill-conditioned to judge by"
    for f, tensors in FILES.items():
        V.write(os.path.join(a.out, f + ".safetensors"), tensors, {"made_by": "make_torch_vectors.py", "torch": torch.__version__})
    V.update_cases(os.path.join(a.out, "cases.json"), "cases", CASES)
    print(len(CASES), "cases")


if __name__ == "__main__":
    main()
