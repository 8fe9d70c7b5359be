"""Time one-step sampling with a UNet2DModel on the CPU: one line of JSON per batch size."""

import argparse

import torch

import common

SIGMA_MIN, SIGMA_MAX, SIGMA_DATA = 0.002, 80.0, 0.5


def make_sampler(config, batch, memory_format):
    model = common.build(config, memory_format).eval()
    noise = common.images(config, batch, memory_format)
    root = (SIGMA_MAX**2 + SIGMA_DATA**2) ** 0.5
    c_skip = SIGMA_DATA**2 / ((SIGMA_MAX - SIGMA_MIN) ** 2 + SIGMA_DATA**2)
    c_out = SIGMA_DATA * (SIGMA_MAX - SIGMA_MIN) / root
    timestep = 250 * torch.full((batch,), SIGMA_MAX).log()

    def sample():
        with torch.inference_mode():
            x = SIGMA_MAX * noise
            return (c_skip * x + c_out * model(x / root, timestep).sample).clamp(-1, 1)

    return sample


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", choices=common.CONFIGS)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64])
    common.add_arguments(parser, runs=9)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    config, _ = common.CONFIGS[args.config]
    for batch in args.batch:
        result = common.measure(
            lambda name: make_sampler(config, batch, name), args.memory_format, args.runs, args.warmup
        )
        common.report(args, config=args.config, batch=batch, **result)


if __name__ == "__main__":
    main()
