"""One consistency training step of a UNet2DModel.

The step: the target's forward without gradient, the student's forward and backward under a
pseudo-Huber loss over whole samples, a fused AdamW (or RAdam, which has no fused form), and the EMA.
Names are those of crates/ct-train/benches.
"""

import contextlib
import functools

import torch

import common

SIGMA_MIN, SIGMA_DATA = 0.002, 0.5
SCALING_BATCHES = [16, 32, 64, 128, 256]
SCALING_CHANNELS = [32, 64, 128, 256]
FIXED_CHANNELS, FIXED_BATCH = 64, 16

# Name: (network, batch, optimizer).
STEPS = {
    "digits_b64": ("digits", 64, "radam"),
    "unet28_b64": ("unet28", 64, "adamw"),
    "unet32_b16": ("unet32", 16, "adamw"),
}


def consistency(model, x, sigma):
    """f(x, sigma); x: [B, C, H, W], sigma: [B]."""
    s = sigma[:, None, None, None]
    root = (s**2 + SIGMA_DATA**2).sqrt()
    c_skip = SIGMA_DATA**2 / ((s - SIGMA_MIN) ** 2 + SIGMA_DATA**2)
    c_out = SIGMA_DATA * (s - SIGMA_MIN) / root
    return c_skip * x + c_out * model(x / root, 250 * sigma.log()).sample


def make_step(config, batch, optimizer_name, memory_format):
    model = common.build(config, memory_format)
    ema = [p.detach().clone() for p in model.parameters()]
    parameters = list(model.parameters())
    if optimizer_name == "adamw":
        optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    else:
        optimizer = torch.optim.RAdam(parameters, lr=1e-4, foreach=True)
    return consistency_step(model, parameters, ema, optimizer, common.images(config, batch, memory_format))


def consistency_step(model, parameters, ema, optimizer, x0, amp=contextlib.nullcontext()):
    """A step of consistency training on the device of x0; `amp` is the context that the network runs in."""
    huber = 0.00054 * x0[0].numel() ** 0.5

    def step():
        noise = torch.randn_like(x0)
        t = (-1.1 + 2.0 * torch.randn(len(x0), device=x0.device)).exp().clamp(2 * SIGMA_MIN, 80.0)
        r = 0.9 * t
        with torch.no_grad(), amp:
            target = consistency(model, x0 + r[:, None, None, None] * noise, r).float()
        with amp:
            estimate = consistency(model, x0 + t[:, None, None, None] * noise, t).float()
        squared = ((estimate - target) ** 2).sum(dim=(1, 2, 3))
        loss = (((squared + huber**2).sqrt() - huber) / (t - r)).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(ema, parameters, 0.001)

    return step


def scaling(channels):
    return common.CONFIGS["scaling"] | {"block_out_channels": [channels, channels]}


def steps():
    """Steps by the last part of their name."""
    return {
        name: functools.partial(make_step, common.CONFIGS[network], batch, optimizer)
        for name, (network, batch, optimizer) in STEPS.items()
    }


def questions():
    """Name of the measurement, and what makes the timed function for a memory format."""
    result = {f"cpu_f32/train_step/{name}": make for name, make in steps().items()}
    for batch in SCALING_BATCHES:
        make = functools.partial(make_step, scaling(FIXED_CHANNELS), batch, "adamw")
        result[f"cpu_f32/train_step_scaling/b{batch}"] = make
    for channels in SCALING_CHANNELS:
        make = functools.partial(make_step, scaling(channels), FIXED_BATCH, "adamw")
        result[f"cpu_f32/train_step_scaling/c{channels}"] = make
    return result
