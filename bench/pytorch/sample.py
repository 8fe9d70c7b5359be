"""One-step sampling with a UNet2DModel (noise, one evaluation, clipping), and filling a hole in 40 steps.

Names are those of crates/ct-sample/benches/one_step.rs.
"""

import functools

import torch

import common

SIGMA_MIN, SIGMA_MAX, SIGMA_DATA, RHO = 0.002, 80.0, 0.5, 7.0
STEPS = 40


def consistency_function(model, x, sigma):
    root = (sigma**2 + SIGMA_DATA**2) ** 0.5
    c_skip = SIGMA_DATA**2 / ((sigma - SIGMA_MIN) ** 2 + SIGMA_DATA**2)
    c_out = SIGMA_DATA * (sigma - SIGMA_MIN) / root
    timestep = 250 * torch.full((x.shape[0],), sigma).log()
    return (c_skip * x + c_out * model(x / root, timestep).sample).clamp(-1, 1)


def make_sampler(config, batch, memory_format):
    model = common.build(config, memory_format).eval()

    def sample():
        with torch.inference_mode():
            return consistency_function(model, SIGMA_MAX * common.images(config, batch, memory_format), SIGMA_MAX)

    return sample


def make_inpainter(config, memory_format):
    model = common.build(config, memory_format).eval()
    picture = torch.zeros_like(common.images(config, 1, memory_format))
    quarter = config["sample_size"] // 4
    hole = torch.zeros_like(picture, dtype=torch.bool)
    hole[..., quarter : 3 * quarter, quarter : 3 * quarter] = True
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    sigmas = [(high + i / STEPS * (low - high)) ** RHO for i in range(STEPS)]

    def inpaint():
        with torch.inference_mode():
            x = picture + sigmas[0] * common.images(config, 1, memory_format)
            for i, sigma in enumerate(sigmas):
                x = torch.where(hole, consistency_function(model, x, sigma), picture)
                if i + 1 < STEPS:
                    scale = (sigmas[i + 1] ** 2 - SIGMA_MIN**2) ** 0.5
                    x = x + scale * common.images(config, 1, memory_format)
            return x

    return inpaint


def questions():
    """Name of the measurement, and what makes the timed function for a memory format."""
    one_step = {
        "digits_b64": ("digits", 64),
        "b1": ("unet28", 1),
        "b64": ("unet28", 64),
        "unet32_b1": ("unet32", 1),
        "unet32_b64": ("unet32", 64),
    }
    inpainting = {"b1": "unet28", "unet32_b1": "unet32"}
    return {
        f"cpu_f32/sample_1step/{name}": functools.partial(make_sampler, common.CONFIGS[network], batch)
        for name, (network, batch) in one_step.items()
    } | {
        f"cpu_f32/inpaint_40steps/{name}": functools.partial(make_inpainter, common.CONFIGS[network])
        for name, network in inpainting.items()
    }
