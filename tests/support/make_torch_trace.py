#!/usr/bin/env python3
"""Writes tests/vectors/trace_dcgan64.safetensors: twenty training steps of a narrow DCGAN on 64x64 colour images (ngf =
ndf = 4), run by PyTorch's own modules in float32 from stored weights, batches and latents.

    make_torch_trace.py [--out tests/vectors]

The step is the PyTorch DCGAN tutorial's: D on real, then on fake.detach(), two passes whose gradients add up and one
update; then G by the *same* fakes through the updated D. Batch norm in training mode everywhere (D's statistics take three
updates a step). BCE on logits, Adam 2e-4 with betas 0.5/0.999, weights N(0,0.02), gamma N(1,0.02), no conv biases.
replay_trace.py re-runs the stored trace by other means. The images are random blotches, in five batches.

Seven million ReLU and LeakyReLU inputs pass in twenty steps: by chance some lie within rounding of the kink at zero, where
two correct float32 programs take different slopes, and Adam's first steps (lr times the gradient's sign) blow that up to
half a weight's change. So that the trace judges programs and not luck, a step in which any of these inputs comes nearer to
zero than 1e-5 of its layer's RMS is undone and repeated with other latents and another batch.
"""
import argparse
import copy
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import vectorfile as V

STEPS, BATCH, POOL, DIM, SEED, KINK = 20, 8, 5, 100, 8, 1e-5
G_WIDTH, D_WIDTH = (32, 16, 8, 4), (4, 8, 16, 32)


def layer(cls, *args, **opts):
    return {"class": cls, "args": list(args), "opts": opts}


def build():
    """PyTorch's modules, and the same networks as lists for Forger's nn.Sequential (the latent is reshaped first)."""
    gm, gl, c = [], [layer("Reshape", 1, 1, DIM)], DIM
    for i, co in enumerate(G_WIDTH):
        st, pad = (1, 0) if i == 0 else (2, 1)
        gm += [nn.ConvTranspose2d(c, co, 4, st, pad, bias=False), nn.BatchNorm2d(co), nn.ReLU(True)]
        gl += [layer("ConvTranspose2d", c, co, 4, stride=st, padding=pad, bias=False), layer("BatchNorm", co), layer("ReLU")]
        c = co
    gm += [nn.ConvTranspose2d(c, 3, 4, 2, 1, bias=False), nn.Tanh()]
    gl += [layer("ConvTranspose2d", c, 3, 4, stride=2, padding=1, bias=False), layer("Tanh")]
    dm, dl, c = [], [], 3
    for i, co in enumerate(D_WIDTH):
        dm.append(nn.Conv2d(c, co, 4, 2, 1, bias=False))
        dl.append(layer("Conv2d", c, co, 4, stride=2, padding=1, bias=False))
        if i > 0:
            dm.append(nn.BatchNorm2d(co))
            dl.append(layer("BatchNorm", co))
        dm.append(nn.LeakyReLU(0.2, True))
        dl.append(layer("LeakyReLU", 0.2))
        c = co
    dm += [nn.Conv2d(c, 1, 4, 1, 0, bias=False), nn.Flatten()]
    dl += [layer("Conv2d", c, 1, 4, bias=False), layer("Flatten")]
    return nn.Sequential(*gm), nn.Sequential(*dm), gl, dl


def state(model, prefix, first):
    """Forger's names and layouts; first: position of the model's layer 0."""
    out = {}
    for k, v in model.state_dict().items():
        i, name = k.split(".")
        if name == "num_batches_tracked":
            continue
        v = v.detach().numpy().copy()
        if v.ndim == 4:
            v = v.transpose(2, 3, 1, 0)  # [out,in,KH,KW] -> [KH,KW,in,out]; transposed [in,out,KH,KW] -> [KH,KW,out,in]
        out["%s.%d.%s" % (prefix, int(i) + first, name)] = np.ascontiguousarray(v)
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors"))
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    G, D, gl, dl = build()
    for m in list(G) + list(D):
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(m.weight, 0.0, 0.02)
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight, 1.0, 0.02)
    coarse = torch.rand(POOL * BATCH, 3, 8, 8)
    real = F.interpolate(coarse, size=(64, 64), mode="bilinear") * 0.8 + torch.rand(POOL * BATCH, 3, 64, 64) * 0.2
    real = (real * 255).round().to(torch.uint8).permute(0, 2, 3, 1).reshape(POOL, BATCH, 64, 64, 3).contiguous().numpy()
    t = {"real": real}
    for k, v in {**state(G, "G", 2), **state(D, "D", 1)}.items():
        t["init." + k] = v
    od, og = (torch.optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999)) for m in (D, G))
    bce = nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
    nearest = [1.0]

    def watch(module, inputs):
        x = inputs[0].detach()
        nearest[0] = min(nearest[0], float(x.abs().min() / x.square().mean().sqrt()))

    for m in list(G) + list(D):
        if isinstance(m, (nn.ReLU, nn.LeakyReLU)):
            m.register_forward_pre_hook(watch)

    def step(batch, z):
        x = torch.from_numpy(real[batch]).permute(0, 3, 1, 2).float() / 127.5 - 1
        fake = G(z.reshape(BATCH, DIM, 1, 1))
        D.zero_grad()
        lr = bce(D(x), ones)
        lr.backward()
        lf = bce(D(fake.detach()), zeros)
        lf.backward()
        od.step()
        G.zero_grad()
        lg = bce(D(fake), ones)
        lg.backward()
        og.step()
        return (lr + lf).item(), lg.item()

    parts, batches, latents, losses, tries = (G, D, od, og), [], [], [], 0
    for i in range(STEPS):
        before = [copy.deepcopy(p.state_dict()) for p in parts]
        while True:
            nearest[0], tries = 1.0, tries + 1
            batch, z = int(torch.randint(POOL, ())), torch.randn(BATCH, DIM)
            loss = step(batch, z)
            if nearest[0] > KINK:
                break
            for p, s in zip(parts, before):
                p.load_state_dict(copy.deepcopy(s))
        batches.append(batch + 1)
        latents.append(z.numpy())
        losses.append(loss)
    t["latent"] = np.stack(latents)
    for k, v in {**state(G, "G", 2), **state(D, "D", 1)}.items():
        t["final." + k] = v
    t["d_loss"], t["g_loss"] = (np.array(x, np.float32) for x in zip(*losses))
    print("%d tries; (d, g) losses" % tries, losses[0], "->", losses[-1])
    V.write(os.path.join(a.out, "trace_dcgan64.safetensors"), t, {"made_by": "make_torch_trace.py", "torch": torch.__version__})
    adam = {"class": "Adam", "opts": {"lr": 2e-4, "betas": [0.5, 0.999]}}
    V.update_cases(os.path.join(a.out, "cases.json"), "trace_dcgan64", {
        "file": "trace_dcgan64.safetensors", "steps": STEPS, "batch": BATCH, "generator": gl, "discriminator": dl,
        "real_batch": batches, "real_scale": 1 / 127.5, "real_shift": -1.0, "d_batch": "split", "d_fake_mode": "train", "fakes": "reuse", "d_reduction": "sum",
        "d_optimizer": adam, "g_optimizer": adam, "held": [], "excepted": []})


if __name__ == "__main__":
    main()
