#!/usr/bin/env python3
"""Writes tests/vectors/io: files made by other people's software, for the C tests of src/io.

    python3 make_io_files.py tests/vectors/io

needs numpy, safetensors and Pillow. *.safetensors come from the safetensors package. *.png are put together here, chunk
by chunk (every colour type, depth and interlacing), and each has the pixels that a viewer shows as an IDX file
[H,W,4] beside it. resize_*.idx are what Pillow's Image.resize(BILINEAR) makes of resize_in.idx.
"""
import os
import struct
import sys
import zlib

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

out = sys.argv[1]
rng = np.random.default_rng(5)


def idx(name, a):
    with open(os.path.join(out, name), "wb") as f:
        f.write(bytes([0, 0, 8, a.ndim]) + struct.pack(">%dI" % a.ndim, *a.shape) + a.astype(np.uint8).tobytes())


# ---- safetensors: every dtype that is read, awkward shapes, metadata in several scripts
every = {
    "f32": np.array([[0.0, -1.5], [np.float32(1e-42), np.inf]], np.float32),
    "f64": np.array([0.1, -2.0 ** 60, 1e-300], np.float64),
    "f16": np.array([0.0, 1.0, -2.0, 65504.0, 5.960464477539063e-08, np.inf, 0.333251953125], np.float16),
    "i8": np.array([-128, 127, 0], np.int8),
    "i16": np.array([-32768, 32767], np.int16),
    "u16": np.array([65535, 1], np.uint16),
    "i32": np.array([-2147483648, 2147483647], np.int32),
    "u32": np.array([2147483647, 0], np.uint32),
    "i64": np.array([-2147483648, 2147483647], np.int64),
    "u64": np.array([7], np.uint64),
    "u8": np.arange(5, dtype=np.uint8),
    "bool": np.array([True, False, True]),
    "scalar": np.array(2.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "name with \"quotes\", ünïcode and a / slash": np.ones((1, 2, 3, 1), np.float32),
}
save_file(every, os.path.join(out, "every.safetensors"), metadata={"format": "np", "größe": "klein\n\"x\"", "": "empty key"})
save_file({"a": np.array([1], np.int64), "wide": np.array([5, 1 << 40], np.int64)}, os.path.join(out, "wide.safetensors"))
save_file({}, os.path.join(out, "none.safetensors"))
save_file({"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.arange(2, dtype=np.uint8)},
          os.path.join(out, "small.safetensors"), metadata={"k": "v"})

# ---- IDX of each element type, [2,3]
for code, t, vals in ((8, ">u1", [0, 1, 2, 253, 254, 255]), (9, ">i1", [-128, -1, 0, 1, 2, 127]),
                      (11, ">i2", [-32768, -1, 0, 1, 2, 32767]), (12, ">i4", [-2147483648, -1, 0, 1, 2, 2147483647]),
                      (13, ">f4", [-1.5, 0, 0.25, 1, 2, 3e38]), (14, ">f8", [-1.5, 0, 0.25, 1, 2, 1e30])):
    with open(os.path.join(out, "type%02x.idx" % code), "wb") as f:
        f.write(bytes([0, 0, code, 2]) + struct.pack(">2I", 2, 3) + np.array(vals, t).tobytes())


# ---- PNG
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def rows_of(samples, depth):
    """samples[h][w][c] -> filtered rows (filter 0), samples packed to depth bits"""
    h = samples.shape[0]
    res = b""
    for y in range(h):
        s = samples[y].reshape(-1)
        if depth == 16:
            row = s.astype(">u2").tobytes()
        elif depth == 8:
            row = s.astype(np.uint8).tobytes()
        else:
            bits = "".join(format(int(v), "0%db" % depth) for v in s)
            bits += "0" * (-len(bits) % 8)
            row = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
        res += b"\0" + row
    return res


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png(name, samples, depth, colour, interlace=False, extra=b""):
    h, w, _ = samples.shape
    if interlace:
        raw = b"".join(rows_of(samples[y0::dy, x0::dx], depth) for x0, y0, dx, dy in ADAM7
                       if samples[y0::dy, x0::dx].size)
    else:
        raw = rows_of(samples, depth)
    with open(os.path.join(out, name), "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, int(interlace)))
                + extra + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def to8(s, depth):
    top = (1 << depth) - 1
    return (s.astype(np.int64) * 255 * 2 + top) // (2 * top)  # rounded to nearest


def rgba(colour, alpha):
    if colour.shape[2] == 1:
        colour = np.repeat(colour, 3, 2)
    return np.concatenate([colour, alpha], 2)


H, W = 9, 11
CH = {0: 1, 2: 3, 4: 2, 6: 4}
for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (4, (8, 16)), (6, (8, 16))):
    for depth in depths:
        inter = depth in (2, 16)
        s = rng.integers(0, 1 << depth, (H, W, CH[colour]))
        name = "c%dd%d" % (colour, depth)
        png(name + ".png", s, depth, colour, inter)
        v = to8(s, depth)
        has_alpha = colour >= 4
        a = v[:, :, -1:] if has_alpha else np.full((H, W, 1), 255)
        idx(name + ".idx", rgba(v[:, :, :-1] if has_alpha else v, a))
palette = rng.integers(0, 256, (16, 3))
s = rng.integers(0, 16, (H, W, 1))
png("palette.png", s, 4, 3, True, chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
idx("palette.idx", rgba(palette[s[:, :, 0]], np.full((H, W, 1), 255)))
trns = rng.integers(0, 256, 10)
full = np.concatenate([trns, np.full(6, 255)])
png("palette_trns.png", s, 8, 3, False,
    chunk(b"PLTE", palette.astype(np.uint8).tobytes()) + chunk(b"tRNS", trns.astype(np.uint8).tobytes()))
idx("palette_trns.idx", rgba(palette[s[:, :, 0]], full[s]))
s = rng.integers(0, 4, (H, W, 1))
png("grey_trns.png", s, 2, 0, False, chunk(b"tRNS", struct.pack(">H", 2)))
idx("grey_trns.idx", rgba(to8(s, 2), np.where(s == 2, 0, 255)))

# ---- resize
img = rng.integers(0, 256, (23, 31, 3)).astype(np.uint8)
img[5:9, :, 0] = 255
idx("resize_in.idx", img)
for h, w in ((23, 31), (8, 8), (46, 40), (23, 7), (5, 31), (1, 1), (64, 3)):
    idx("resize_%dx%d.idx" % (h, w), np.asarray(Image.fromarray(img).resize((w, h), Image.BILINEAR)))
