"""Small files as torch.save writes them: a state dict, a checkpoint around it, and one that would run a program."""

import hashlib
import json
import os
import pathlib

import torch

HERE = pathlib.Path(__file__).resolve().parent


class Calls:
    """Unpickled by Python, this runs `touch ran`."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def numbers(*shape):
    return torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float32).reshape(shape) / 8


module = torch.nn.Linear(3, 2)
module.weight.data.copy_(numbers(2, 3))
module.bias.data.copy_(numbers(2))
state = module.state_dict()  # an OrderedDict with _metadata
state["half"] = numbers(4).half()
state["brain"] = numbers(2, 2).bfloat16()
state["part"] = numbers(3, 4)[1:]  # begins within its storage
state["parameter"] = torch.nn.Parameter(numbers(5))

files = {
    "state_dict.pt": state,
    "checkpoint.pt": {"step": 7, "state_dict": dict(state), "lr": 0.1},
    "calls.pt": {"weight": numbers(2), "more": Calls()},
    "whole_numbers.pt": {"weight": torch.arange(3, dtype=torch.int32)},
}
for name, content in files.items():
    torch.save(content, HERE / name)
notes = {
    "make_sha256": hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest(),
    "torch": torch.__version__,
    "files": {name: hashlib.sha256((HERE / name).read_bytes()).hexdigest() for name in files},
}
(HERE / "notes.json").write_text(json.dumps(notes, indent=1) + "\n")
