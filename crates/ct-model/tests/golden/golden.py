"""Write a golden file: tensors plus the facts needed to make it again.

`safetensors` orders metadata at random, so the header is sorted here: the same
script gives the same bytes each time.
"""

import hashlib
import importlib.metadata
import json
import pathlib

import safetensors.torch
import torch


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def versions(*packages):
    return {name: importlib.metadata.version(name) for name in packages}


def save(path, tensors, make, **metadata):
    """Write `tensors` to `path`; `make` is the script, `metadata` goes in as text or JSON."""
    metadata["make_sha256"] = sha256(make)
    text = {k: v if isinstance(v, str) else json.dumps(v, sort_keys=True) for k, v in metadata.items()}
    tensors = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    blob = safetensors.torch.save(tensors, text)
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    header["__metadata__"] = dict(sorted(text.items()))
    sorted_header = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    assert len(sorted_header) == length
    pathlib.Path(path).write_bytes(blob[:8] + sorted_header + blob[8 + length :])
    print(f"{path}: {len(tensors)} tensors, {len(blob)} bytes")
