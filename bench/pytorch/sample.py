"""One-step sampling with a UNet2DModel: noise, one evaluation, clipping.

Names are those of crates/ct-sample/benches/one_step.rs.
"""

import functools

import torch

import common

SIGMA_MIN, SIGMA_MAX, SIGMA_DATA = 0.002, 80.0, 0.5
BATCH = 64


def make_sampler(config, memory_format):
    model = common.build(config, memory_format).eval()
    root = (SIGMA_MAX**2 + SIGMA_DATA**2) ** 0.5
    c_skip = SIGMA_DATA**2 / ((SIGMA_MAX - SIGMA_MIN) ** 2 + SIGMA_DATA**2)
    c_out = SIGMA_DATA * (SIGMA_MAX - SIGMA_MIN) / root
    timestep = 250 * torch.full((BATCH,), SIGMA_MAX).log()

    def sample():
        with torch.inference_mode():
            x = SIGMA_MAX * common.images(config, BATCH, memory_format)
            return (c_skip * x + c_out * model(x / root, timestep).sample).clamp(-1, 1)

    return sample


def questions():
    """Name of the measurement, and what makes the timed function for a memory format."""
    networks = {"digits_b64": "digits", "b64": "unet28", "unet32_b64": "unet32"}
    return {
        f"cpu_f32/sample_1step/{name}": functools.partial(make_sampler, common.CONFIGS[network])
        for name, network in networks.items()
    }
