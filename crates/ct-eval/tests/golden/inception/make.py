"""Golden file for Inception-v3 in the variant of FID: pytorch-fid's own network, 16 times narrower, on random weights.

`pytorch_fid.inception` (0.3.0) builds and runs the network; only its convolutions are made with a sixteenth of the
channels, so that the file stays small, and nothing is downloaded: the weights are drawn here.
Run: python make.py (torch, torchvision, pytorch-fid, safetensors). The same versions give the same bytes.

Keys: the names of the published weights; `input` [2, 3, H, W] in [-1, 1]; `features` [2, 128].
"""

import hashlib
import importlib.metadata
import json
import pathlib

import pytorch_fid.inception as fid
import safetensors.torch
import torch
import torchvision

SEED, NARROWER = 8, 16
HERE = pathlib.Path(__file__).resolve()


class Narrow(torchvision.models.inception.BasicConv2d):
    def __init__(self, in_channels, out_channels, **kwargs):
        if in_channels > 3:
            in_channels //= NARROWER
        super().__init__(in_channels, out_channels // NARROWER, **kwargs)


torch.set_num_threads(1)
torch.manual_seed(SEED)
torchvision.models.inception.BasicConv2d = Narrow
fid.load_state_dict_from_url = lambda *_, **__: None
load_state_dict = torch.nn.Module.load_state_dict
torch.nn.Module.load_state_dict = lambda *_, **__: None
kept = {}
build = fid._inception_v3


def keep(*args, **kwargs):
    kept["network"] = build(*args, **kwargs)
    return kept["network"]


fid._inception_v3 = keep
network = fid.InceptionV3().eval()
torch.nn.Module.load_state_dict = load_state_dict

weights = {}
for name, value in kept["network"].state_dict().items():
    if name.endswith("num_batches_tracked") or name.startswith("fc."):
        continue
    if name.endswith("conv.weight"):
        drawn = torch.randn_like(value) * (2 / value[0].numel()) ** 0.5
    elif name.endswith("running_var"):
        drawn = torch.rand_like(value) + 0.5
    elif name.endswith("bn.weight"):
        drawn = torch.rand_like(value) + 0.6
    else:
        drawn = 0.2 * torch.randn_like(value)
    weights[name] = drawn
# Which eps is used shows only where the variance is small.
weights["Mixed_5c.branch1x1.bn.running_var"] *= 0.02
weights["Mixed_5c.branch1x1.bn.weight"] *= 0.1
kept["network"].load_state_dict(weights, strict=False)

images = torch.rand(2, 3, 41, 37) * 2 - 1
with torch.inference_mode():
    # It takes images from 0 to 1.
    features = network(images / 2 + 0.5)[0].flatten(1)
tensors = {name: value.contiguous() for name, value in weights.items()} | {"input": images, "features": features}
metadata = {
    "make_sha256": hashlib.sha256(HERE.read_bytes()).hexdigest(),
    "seed": str(SEED),
    "versions": json.dumps(
        {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "pytorch-fid", "safetensors")}
    ),
    "tolerance": "1e-4 of the largest feature: f32 sums of up to 2,000 terms through 94 layers",
}
blob = safetensors.torch.save(tensors, metadata)
length = int.from_bytes(blob[:8], "little")
header = json.loads(blob[8 : 8 + length])
header["__metadata__"] = dict(sorted(metadata.items()))
text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
HERE.with_name("case.safetensors").write_bytes(blob[:8] + text + blob[8 + length :])
print(len(tensors), "tensors,", len(blob), "bytes; features", features.abs().mean().item())
