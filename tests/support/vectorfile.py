"""Reading and writing safetensors files with NumPy alone, and the error measure that the tests use.

The format: 8 bytes header length (little endian), a JSON header {name: {dtype, shape, data_offsets}}, then raw
little-endian data. Written here by hand so that the generating scripts need nothing but NumPy and their framework,
and so that the library's own reader is tested against a second writer.
"""
import json
import os
import struct

import numpy as np

NAMES = {"float32": "F32", "int32": "I32", "uint8": "U8"}
TYPES = {v: np.dtype(k).newbyteorder("<") for k, v in NAMES.items()}


def write(path, tensors, metadata=None):
    """tensors: {name: array of float32, int32 or uint8}; metadata: {string: string}."""
    header, offset, blobs = {}, 0, []
    if metadata:
        header["__metadata__"] = {k: str(metadata[k]) for k in sorted(metadata)}
    # Widest elements first keeps every tensor aligned to its element size.
    for name in sorted(tensors, key=lambda n: (-tensors[n].dtype.itemsize, n)):
        a = tensors[name]
        blob = np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": NAMES[a.dtype.name], "shape": list(a.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    tmp = path + ".tmp"
    with open(tmp, "wb") as f:
        f.write(struct.pack("<Q", len(text)))
        f.write(text)
        for b in blobs:
            f.write(b)
    os.replace(tmp, path)


def read(path):
    with open(path, "rb") as f:
        raw = f.read()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    out = {}
    for name, e in header.items():
        a, b = e["data_offsets"]
        out[name] = np.frombuffer(raw[8 + n + a:8 + n + b], TYPES[e["dtype"]]).reshape(e["shape"])
    return out


def relative_error(a, b):
    """The project's measure: max|a-b| / max|b|."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape, (a.shape, b.shape)
    if b.size == 0:
        return 0.0
    top = np.abs(b).max()
    return float(np.abs(a - b).max() / top) if top > 0 else float(np.abs(a).max())


def update_cases(path, key, value):
    """Sets one top-level entry of cases.json and leaves those that other scripts wrote."""
    doc = {}
    if os.path.exists(path):
        with open(path) as f:
            doc = json.load(f)
    doc[key] = value
    with open(path + ".tmp", "w") as f:
        f.write("{\n")
        for i, k in enumerate(sorted(doc)):
            f.write(("" if i == 0 else ",\n") + json.dumps(k) + ": ")
            if isinstance(doc[k], list):  # one case a line: small diffs
                f.write("[\n" + ",\n".join(json.dumps(c, sort_keys=True) for c in doc[k]) + "\n]")
            else:
                f.write(json.dumps(doc[k], sort_keys=True))
        f.write("\n}\n")
    os.replace(path + ".tmp", path)
