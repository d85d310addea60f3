"""The works of peers.py in PyTorch: eager, torch.compile, bf16 by autocast; channels-last unless the mode says nchw."""
import copy

import torch
import torch.nn as nn
import torch.nn.functional as F

JOINT = ("book", "mlp", "toy", "tiny")  # D sees real and fake as one batch
IMAGES = ("book", "wgangp", "demo", "dcgan64", "sample1", "sample64")


class SameConv5(nn.Module):
    """5x5 convolution with TensorFlow's "same" padding, which is lopsided at stride 2."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv, self.stride = nn.Conv2d(cin, cout, 5, stride), stride

    def forward(self, x):
        size = x.shape[2]
        pad = max((-(-size // self.stride) - 1) * self.stride + 5 - size, 0)
        before, after = pad // 2, pad - pad // 2
        return self.conv(F.pad(x, (before, after, before, after)))


def book():
    g, cin = [nn.Linear(100, 6272), nn.Unflatten(1, (128, 7, 7))], 128
    for cout, stride in ((128, 2), (64, 2), (32, 1), (1, 1)):
        g += [nn.BatchNorm2d(cin), nn.ReLU(True), nn.ConvTranspose2d(cin, cout, 5, stride, padding=2, output_padding=stride - 1)]
        cin = cout
    d, cin = [], 1
    for cout, stride in ((32, 2), (64, 2), (128, 2), (256, 1)):
        d += [nn.LeakyReLU(0.2), SameConv5(cin, cout, stride)]
        cin = cout
    return nn.Sequential(*g, nn.Sigmoid()), nn.Sequential(*d, nn.Flatten(), nn.Linear(4096, 1)), (100,), (1, 28, 28)


def dcgan64():
    g, cin = [], 100
    for cout, stride, pad in ((512, 1, 0), (256, 2, 1), (128, 2, 1), (64, 2, 1)):
        g += [nn.ConvTranspose2d(cin, cout, 4, stride, pad, bias=False), nn.BatchNorm2d(cout), nn.ReLU(True)]
        cin = cout
    g += [nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh()]
    d, cin = [nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)], 64
    for cout in (128, 256, 512):
        d += [nn.Conv2d(cin, cout, 4, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.LeakyReLU(0.2, True)]
        cin = cout
    d += [nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Flatten()]
    return nn.Sequential(*g), nn.Sequential(*d), (100, 1, 1), (3, 64, 64)


def demo():
    g = nn.Sequential(
        nn.Linear(32, 4704, bias=False), nn.Unflatten(1, (96, 7, 7)), nn.BatchNorm2d(96), nn.ReLU(True),
        nn.ConvTranspose2d(96, 48, 4, 2, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU(True),
        nn.ConvTranspose2d(48, 1, 4, 2, 1), nn.Tanh())
    d = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2, True), nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2, True),
        nn.Conv2d(64, 128, 3, 2, 1), nn.LeakyReLU(0.2, True), nn.Flatten(), nn.Linear(2048, 1))
    return g, d, (32,), (1, 28, 28)


def mlp(*sizes, act=nn.ReLU, last=None, dropout=0):
    layers = []
    for i in range(len(sizes) - 1):
        layers.append(nn.Linear(sizes[i], sizes[i + 1]))
        if i < len(sizes) - 2:
            layers += [act()] + ([nn.Dropout(dropout)] if dropout else [])
    return nn.Sequential(*layers, *([last] if last else []))


def networks(work):
    """G, D, shape of a latent vector, shape of an image."""
    if work == "dcgan64":
        return dcgan64()
    if work == "demo":
        return demo()
    if work == "mlp":
        leaky = lambda: nn.LeakyReLU(0.2)
        return mlp(100, 256, 1024, 784, act=leaky, last=nn.Sigmoid()), mlp(784, 1024, 512, 1, act=leaky, dropout=0.3), (100,), (784,)
    if work in ("toy", "tiny"):
        hidden = (512,) * 3 if work == "toy" else (128,) * 2
        return mlp(2, *hidden, 2), mlp(2, *hidden, 1), (2,), (2,)
    return book()


def make_step(work, mode, batch, threads):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    g, d, zs, xs = networks(work)
    average = copy.deepcopy(g) if work == "demo" else None
    real = torch.rand(batch, *xs)
    if work in IMAGES and not mode.endswith("-nchw"):
        g, d = g.to(memory_format=torch.channels_last), d.to(memory_format=torch.channels_last)
        real = real.contiguous(memory_format=torch.channels_last)
    call_g, call_d = (torch.compile(g), torch.compile(d)) if "compile" in mode else (g, d)
    precision = lambda: torch.autocast("cpu", torch.bfloat16, enabled="bf16" in mode)

    if work.startswith("sample"):
        g.eval()

        def sample():
            with torch.no_grad(), precision():
                call_g(torch.rand(batch, 100))
        return sample, torch.__version__

    if work == "book":
        d_opt, g_opt = torch.optim.RMSprop(d.parameters(), 2e-4), torch.optim.RMSprop(g.parameters(), 1e-4)
    else:
        d_opt, g_opt = (torch.optim.Adam(net.parameters(), 2e-4, betas=(0.5, 0.9)) for net in (d, g))
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(batch, 1), torch.zeros(batch, 1)
    both = torch.cat([ones, zeros])
    latent = lambda: torch.rand(batch, *zs) * 2 - 1

    def d_loss(fake):
        if work in JOINT:
            return bce(call_d(torch.cat([real, fake])).float(), both)
        if work == "wgangp":
            e = torch.rand(batch, 1, 1, 1)
            mix = (e * real + (1 - e) * fake).requires_grad_(True)
            grad, = torch.autograd.grad(call_d(mix).float().sum(), mix, create_graph=True)
            penalty = ((grad.float().flatten(1).square().sum(1) + 1e-12).sqrt() - 1).square().mean()
            return call_d(fake).float().mean() - call_d(real).float().mean() + 10 * penalty
        if work == "demo":
            x = real.detach().requires_grad_(True)
            s = call_d(x).float()
            grad, = torch.autograd.grad(s.sum(), x, create_graph=True)
            r1 = grad.float().square().sum((1, 2, 3)).mean()
            return bce(s, ones) + bce(call_d(fake).float(), zeros) + 0.25 * r1
        return bce(call_d(real).float(), ones) + bce(call_d(fake).float(), zeros)

    def step():
        with precision():
            with torch.no_grad():
                fake = call_g(latent())
            loss = d_loss(fake)
        loss.backward()
        d_opt.step()
        d_opt.zero_grad()  # as in step.lua
        for p in d.parameters():
            p.requires_grad_(False)
        with precision():
            s = call_d(call_g(latent())).float()
            loss = -s.mean() if work == "wgangp" else bce(s, ones)
        loss.backward()
        g_opt.step()
        g_opt.zero_grad()
        for p in d.parameters():
            p.requires_grad_(True)
        if average is not None:
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(g.parameters()), 1e-3)
    return step, torch.__version__
