"""Zero-shot edits by openai's own functions, around a closed-form network, on recorded noise.

    python make.py --openai DIR

DIR is a checkout of openai/consistency_models (commit e32b69e). `iterative_inpainting`, `iterative_colorization` and
`iterative_superres` are imported and run; nothing of them is copied. What had to be aligned:

- They expect the caller to add the first noise. It is added here to the least picture that agrees with what is known,
  which is where the paper starts: x = M^T c + sigma_1 z_0.
- The inpainting function draws the letter "S" in Arial as its mask. Here the pen draws a rectangle instead, so that the
  mask is known: pixels in columns 2 to 5 of rows 1 to 6 are generated. Its batch must be a multiple of 7.
- Their last step adds noise of scale zero, which is drawn all the same.
- Modules for LPIPS, images and MPI are replaced by empty ones, as none of them is reached.

Network: f(x, sigma) with F(u, c_noise) = 2.2 tanh(u + c_noise / 1000), fed u = c_in x and c_noise = 250 ln sigma.
Keys: CASE.input [N, 3, H, W], CASE.noise.K, CASE.samples; `sigmas`, the levels of the three evaluations.
"""

import argparse
import pathlib
import sys
import types

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "ct-model" / "tests" / "golden"))

import golden

SEED = 302
SIGMA_MIN, SIGMA_MAX, SIGMA_DATA, RHO = 0.002, 80.0, 0.5, 7.0
# Positions in the grid of 40; at the last of them nothing is evaluated.
TS = [0, 17, 34, 39]
SHAPES = {"inpaint": (7, 3, 8, 8), "colorize": (2, 3, 8, 8), "upscale": (1, 3, 16, 16)}
HOLE = (slice(1, 7), slice(2, 6))


def import_peer():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openai", type=pathlib.Path, required=True)
    args = parser.parse_args()
    for name, attribute in {"piq": "LPIPS", "torchvision": "", "torchvision.transforms": "RandomCrop"}.items():
        sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[name], attribute or "transforms", None)
    sys.modules["cm.dist_util"] = types.ModuleType("cm.dist_util")
    sys.modules["cm.dist_util"].dev = lambda: "cpu"
    sys.path.insert(0, str(args.openai))
    import cm.karras_diffusion

    return cm.karras_diffusion


def sigma_at(index, steps=40):
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    return (high + index / (steps - 1) * (low - high)) ** RHO


def consistency_function(x, sigma):
    sigma = sigma.reshape(-1, 1, 1, 1).double()
    above = sigma - SIGMA_MIN
    root = (sigma**2 + SIGMA_DATA**2).sqrt()
    raw = 2.2 * torch.tanh(x.double() / root + 0.25 * sigma.log())
    return (SIGMA_DATA**2 / (above**2 + SIGMA_DATA**2) * x + SIGMA_DATA * above / root * raw).float()


class Recorded:
    """A generator that gives the recorded noise in order, and zeros at the end."""

    def __init__(self, noise):
        self.noise = iter(noise)

    def randn_like(self, x):
        return next(self.noise, torch.zeros_like(x))


class Rectangle:
    """A pen that draws the hole, whatever it is asked to write."""

    def __init__(self, image):
        self.image = image

    def text(self, *_, **__):
        rows, columns = HOLE
        for row in range(rows.start, rows.stop):
            for column in range(columns.start, columns.stop):
                self.image.putpixel((column, row), (0, 0, 0))


def least(case, images):
    """M^T M x, by hand."""
    if case == "inpaint":
        kept = images.clone()
        kept[:, :, HOLE[0], HOLE[1]] = 0
        return kept
    if case == "colorize":
        w = np.asarray([0.2989, 0.5870, 0.1140])
        w = torch.from_numpy(w / np.linalg.norm(w)).float().reshape(1, 3, 1, 1)
        return w * (w * images).sum(1, keepdim=True)
    return torch.nn.functional.avg_pool2d(images, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)


peer = import_peer()
from PIL import ImageDraw, ImageFont

ImageFont.truetype = lambda *_, **__: None
ImageDraw.Draw = Rectangle
FUNCTIONS = {
    "inpaint": peer.iterative_inpainting,
    "colorize": peer.iterative_colorization,
    "upscale": peer.iterative_superres,
}

torch.set_num_threads(1)
torch.manual_seed(SEED)
sigmas = [sigma_at(index) for index in TS[:-1]]
tensors = {"sigmas": torch.tensor(sigmas, dtype=torch.float64)}
for case, function in FUNCTIONS.items():
    images = torch.rand(SHAPES[case]) * 2 - 1
    noise = [torch.randn(SHAPES[case]) for _ in TS[:-1]]
    x = least(case, images) + sigmas[0] * noise[0]
    samples, _ = function(consistency_function, images.clone(), x, TS, generator=Recorded(noise[1:]))
    tensors |= {f"{case}.input": images, f"{case}.samples": samples}
    tensors |= {f"{case}.noise.{k}": z for k, z in enumerate(noise)}

golden.save(
    HERE / "case.safetensors",
    tensors,
    __file__,
    hole={"rows": [1, 7], "columns": [2, 6]},
    seed=str(SEED),
    versions=golden.versions("torch", "safetensors"),
    # Both compute in f32 around a function whose slope at sigma = 80 is 0.03.
    tolerances={"samples": 1e-4},
)
