"""Forger's layers written in PyTorch functions, over tensors in Forger's own layouts.

Images are [N,H,W,C]; conv weights [KH,KW,in,out]; transposed conv weights [KH,KW,out,in] (the weight of the convolution
whose adjoint it is); linear weights [in,out]. Because the leaves have these layouts, PyTorch's gradients have them too.
A network is a list of {"class", "args", "opts"}; `forward` runs it with a dict of tensors named as Forger's state dict
("1.weight", "3.running_mean": positions from 1).
"""
import math

import torch
import torch.nn.functional as F


def pair(v):
    return (v, v) if isinstance(v, int) else tuple(v)


def four(v):
    """padding option -> top, bottom, left, right"""
    if isinstance(v, int):
        return (v,) * 4
    return (v[0], v[0], v[1], v[1]) if len(v) == 2 else tuple(v)


def same_pad(size, k, s):
    """TensorFlow's "same": (before, after)."""
    total = max((-(-size // s) - 1) * s + k - size, 0)
    return total // 2, total - total // 2


def conv2d(x, w, b, stride=1, padding=0):
    kh, kw = w.shape[:2]
    sh, sw = pair(stride)
    if padding == "same":
        p = same_pad(x.shape[1], kh, sh) + same_pad(x.shape[2], kw, sw)
    else:
        p = four(padding)
    x = F.pad(x.permute(0, 3, 1, 2), (p[2], p[3], p[0], p[1]))
    return F.conv2d(x, w.permute(3, 2, 0, 1).contiguous(), b, (sh, sw)).permute(0, 2, 3, 1)


def conv_transpose2d(x, w, b, stride=1, padding=0, output_padding=0):
    kh, kw = w.shape[:2]
    sh, sw = pair(stride)
    h, wd = x.shape[1:3]
    if padding == "same":
        oh, ow = h * sh, wd * sw
        top, left = same_pad(oh, kh, sh)[0], same_pad(ow, kw, sw)[0]
    else:
        top, bottom, left, right = four(padding)
        eh, ew = pair(output_padding)
        oh, ow = (h - 1) * sh + kh - top - bottom + eh, (wd - 1) * sw + kw - left - right + ew
    y = F.conv_transpose2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1).contiguous(), None, (sh, sw))
    y = F.pad(y, (0, max(left + ow - y.shape[3], 0), 0, max(top + oh - y.shape[2], 0)))
    y = y[:, :, top:top + oh, left:left + ow].permute(0, 2, 3, 1)
    return y if b is None else y + b


def batch_norm(x, gamma, beta, mean, var, training, eps=1e-5, momentum=0.1, buffers=None, prefix=""):
    """Over all axes but the last. buffers: where the updated running statistics go (unbiased variance)."""
    if training:
        axes = tuple(range(x.dim() - 1))
        n = x.numel() // x.shape[-1]
        m, v = x.mean(axes), x.var(axes, unbiased=False)
        if buffers is not None:
            buffers[prefix + "running_mean"] = (mean * (1 - momentum) + m * momentum).detach()
            buffers[prefix + "running_var"] = (var * (1 - momentum) + v * momentum * n / (n - 1)).detach()
    else:
        m, v = mean, var
    return (x - m) / torch.sqrt(v + eps) * gamma + beta


def nchw(f):
    return lambda x: f(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def layer(spec, p, prefix, x, training, buffers=None):
    """One layer; p holds its tensors under prefix."""
    c, a, o = spec["class"], spec.get("args", []), spec.get("opts", {})
    w, b = p.get(prefix + "weight"), p.get(prefix + "bias")
    if c == "Linear":
        y = x @ w
        return y if b is None else y + b
    if c == "Conv2d":
        return conv2d(x, w, b, o.get("stride", 1), o.get("padding", 0))
    if c == "ConvTranspose2d":
        return conv_transpose2d(x, w, b, o.get("stride", 1), o.get("padding", 0), o.get("output_padding", 0))
    if c == "BatchNorm":
        return batch_norm(x, w, b, p[prefix + "running_mean"], p[prefix + "running_var"], training, o.get("eps", 1e-5),
                          o.get("momentum", 0.1), buffers, prefix)
    if c == "Embedding":
        return w[x.long()]
    if c == "Flatten":
        return x.reshape(x.shape[0], -1)
    if c == "Reshape":
        return x.reshape(x.shape[0], *a)
    if c == "Upsample":
        fh, fw = pair(a[0])
        return x.repeat_interleave(fh, 1).repeat_interleave(fw, 2)
    if c in ("AvgPool2d", "MaxPool2d"):
        k = pair(a[0])
        s, pad = pair(o.get("stride", k)), pair(o.get("padding", 0))
        f = F.avg_pool2d if c == "AvgPool2d" else F.max_pool2d
        return nchw(lambda t: f(t, k, s, pad))(x)
    if c == "Dropout":
        assert not training or a[0] == 0
        return x * 1.0
    return {"ReLU": torch.relu, "LeakyReLU": lambda t: F.leaky_relu(t, a[0] if a else 0.01), "Tanh": torch.tanh,
            "Sigmoid": torch.sigmoid, "Softplus": lambda t: F.softplus(t, threshold=1e9), "Identity": lambda t: t * 1.0}[c](x)


def forward(net, p, x, training=True, buffers=None, prefix=""):
    for i, spec in enumerate(net, 1):
        x = layer(spec, p, "%s%d." % (prefix, i), x, training, buffers)
    return x


def shapes(spec):
    """State-dict entries of one layer -> shape, in the order of Forger's parameters."""
    c, a, o = spec["class"], spec.get("args", []), spec.get("opts", {})
    s = {}
    if c == "Linear":
        s["weight"], out = [a[0], a[1]], a[1]
    elif c == "Conv2d":
        s["weight"], out = [*pair(a[2]), a[0], a[1]], a[1]
    elif c == "ConvTranspose2d":
        s["weight"], out = [*pair(a[2]), a[1], a[0]], a[1]
    elif c == "BatchNorm":
        return {k: [a[0]] for k in ("weight", "bias", "running_mean", "running_var")}
    elif c == "Embedding":
        return {"weight": [a[0], a[1]]}
    else:
        return s
    if o.get("bias", True):
        s["bias"] = [out]
    return s


def check():
    """Asserts that the crops above are PyTorch's, and that "same" is the exact adjoint of TensorFlow's same convolution."""
    g = torch.Generator().manual_seed(0)
    r = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)
    for k, s, p, op in ((4, 2, 1, 0), (5, 2, 2, 1), (3, 3, 0, 2), (3, 1, 1, 0)):
        x, w, b = r(2, 5, 6, 3), r(k, k, 4, 3), r(4)
        y = F.conv_transpose2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), b, s, p, op).permute(0, 2, 3, 1)
        assert torch.allclose(y, conv_transpose2d(x, w, b, s, p, op), atol=1e-12)
    for k, s in ((5, 2), (4, 2), (5, 1), (3, 2), (2, 3), (3, 3)):
        x, w = r(2, 5, 6, 3), r(k, k, 4, 3)
        y = conv_transpose2d(x, w, None, s, "same")
        u = torch.randn(y.shape, generator=g, dtype=torch.float64)
        v = conv2d(u, w, None, s, "same")
        assert math.isclose(float((y * u).sum()), float((x * v).sum()), rel_tol=1e-9)
