"""Golden file for the first eleven blocks of EfficientNet-Lite0, with few channels and random weights.

The reference is written out below from the description of the network: convolutions padded as TensorFlow's SAME,
batch normalization with eps 1e-3, ReLU6, residual where stride and channels allow it, and the mean over the pixels.
Run: python make.py (torch, safetensors). The same versions give the same bytes.
"""

import hashlib
import importlib.metadata
import json
import pathlib

import safetensors.torch
import torch
import torch.nn.functional as F

SEED = 7
STEM = 8
# kernel, stride, expansion, channels of each block
BLOCKS = [
    (3, 1, 1, 4), (3, 2, 2, 6), (3, 1, 2, 6), (5, 2, 2, 8), (5, 1, 2, 8), (3, 2, 2, 10),
    (3, 1, 2, 10), (3, 1, 2, 10), (5, 1, 2, 12), (5, 1, 2, 12), (5, 1, 2, 12),
]


def random_weights(gen):
    weights = {}

    def conv(name, norm, out, channels, kernel, groups=1):
        fan_in = channels // groups * kernel * kernel
        weights[f"{name}.weight"] = torch.randn(out, channels // groups, kernel, kernel, generator=gen) * (2 / fan_in) ** 0.5
        weights[f"{norm}.weight"] = torch.rand(out, generator=gen) + 0.5
        weights[f"{norm}.bias"] = torch.randn(out, generator=gen) * 0.2 + 0.3
        weights[f"{norm}.running_mean"] = torch.randn(out, generator=gen) * 0.2
        weights[f"{norm}.running_var"] = torch.rand(out, generator=gen) + 0.5

    conv("_conv_stem", "_bn0", STEM, 3, 3)
    channels = STEM
    for i, (kernel, _, expansion, out) in enumerate(BLOCKS):
        at, inner = f"_blocks.{i}", channels * expansion
        if expansion > 1:
            conv(f"{at}._expand_conv", f"{at}._bn0", inner, channels, 1)
        conv(f"{at}._depthwise_conv", f"{at}._bn1", inner, inner, kernel, groups=inner)
        conv(f"{at}._project_conv", f"{at}._bn2", out, inner, 1)
        channels = out
    # Which eps is used shows only where the variance is small.
    weights["_blocks.4._bn1.running_var"] *= 0.02
    weights["_blocks.4._bn1.weight"] *= 0.1
    return weights


def same_conv(x, w, stride, groups=1):
    pads = []
    for size, kernel in ((x.shape[3], w.shape[3]), (x.shape[2], w.shape[2])):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), w, stride=stride, groups=groups)


def features(weights, x, blocks=BLOCKS):
    def norm(x, name):
        w = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *w, training=False, eps=1e-3)

    x = (x + 1) * 127.5
    x = (x - 127) / 128
    x = F.relu6(norm(same_conv(x, weights["_conv_stem.weight"], 2), "_bn0"))
    for i, (_, stride, expansion, _) in enumerate(blocks):
        at, before = f"_blocks.{i}", x
        if expansion > 1:
            x = F.relu6(norm(same_conv(x, weights[f"{at}._expand_conv.weight"], 1), f"{at}._bn0"))
        x = same_conv(x, weights[f"{at}._depthwise_conv.weight"], stride, groups=x.shape[1])
        x = F.relu6(norm(x, f"{at}._bn1"))
        x = norm(same_conv(x, weights[f"{at}._project_conv.weight"], 1), f"{at}._bn2")
        if stride == 1 and x.shape == before.shape:
            x = x + before
    return x.mean((2, 3))


def main():
    gen = torch.Generator().manual_seed(SEED)
    weights = random_weights(gen)
    inputs = {
        "square": torch.rand(2, 3, 32, 32, generator=gen) * 2 - 1,
        "odd": torch.rand(1, 3, 19, 26, generator=gen) * 2 - 1,
    }
    double = {name: tensor.double() for name, tensor in weights.items()}
    tensors = dict(weights)
    for name, x in inputs.items():
        tensors[f"input.{name}"] = x
        tensors[f"features.{name}"] = features(double, x.double()).float()
    metadata = {
        "make_sha256": hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest(),
        "seed": str(SEED),
        "tolerance": "1e-4 of the largest feature: f32 against f64 through 32 layers",
        "versions": json.dumps({p: importlib.metadata.version(p) for p in ("safetensors", "torch")}, sort_keys=True),
    }
    blob = safetensors.torch.save({n: t.contiguous() for n, t in tensors.items()}, metadata)
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    # safetensors orders metadata at random.
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    assert len(text) == length
    path = pathlib.Path(__file__).with_name("case.safetensors")
    path.write_bytes(blob[:8] + text + blob[8 + length :])
    print({n: t for n, t in tensors.items() if n.startswith("features")}, len(blob), "bytes")


if __name__ == "__main__":
    main()
