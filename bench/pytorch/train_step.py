"""Time one consistency training step of a UNet2DModel on the CPU, and print one line of JSON.

The step: the target's forward without gradient, the student's forward and backward under a
pseudo-Huber loss over whole samples, a fused AdamW (or RAdam, which has no fused form), and the EMA.
"""

import argparse

import torch

import common

SIGMA_MIN, SIGMA_DATA = 0.002, 0.5


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
    x0 = common.images(config, batch, memory_format)
    huber = 0.00054 * x0[0].numel() ** 0.5

    def step():
        noise = torch.randn_like(x0)
        t = (-1.1 + 2.0 * torch.randn(batch)).exp().clamp(2 * SIGMA_MIN, 80.0)
        r = 0.9 * t
        with torch.no_grad():
            target = consistency(model, x0 + r[:, None, None, None] * noise, r)
        estimate = consistency(model, x0 + t[:, None, None, None] * noise, t)
        squared = ((estimate - target) ** 2).sum(dim=(1, 2, 3))
        loss = (((squared + huber**2).sqrt() - huber) / (t - r)).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(ema, parameters, 0.001)

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", choices=common.CONFIGS)
    parser.add_argument("--optimizer", choices=["adamw", "radam"], default="adamw")
    parser.add_argument("--batch", type=int, help="instead of the configuration's")
    common.add_arguments(parser, runs=5)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    config, batch = common.CONFIGS[args.config]
    batch = args.batch or batch
    result = common.measure(
        lambda name: make_step(config, batch, args.optimizer, name), args.memory_format, args.runs, args.warmup
    )
    parameters = sum(p.numel() for p in common.build(config, "contiguous").parameters())
    common.report(args, config=args.config, batch=batch, optimizer=args.optimizer, parameters=parameters, **result)


if __name__ == "__main__":
    main()
