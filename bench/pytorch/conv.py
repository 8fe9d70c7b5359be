"""Time 3x3 convolutions, stride 1, as many channels out as in: one line of JSON per shape.

`forward` runs under inference mode; `both` is the forward and both backwards (input and weight).
"""

import argparse

import torch

import common

# Batch, channels, height and width.
SHAPES = [
    (64, 32, 28),
    (64, 64, 14),
    (64, 128, 7),
    (32, 64, 28),
    (32, 128, 14),
    (16, 128, 32),
    (16, 256, 16),
]


def make_passes(shape, memory_format):
    batch, channels, size = shape
    layout = common.FORMATS[memory_format]
    x = torch.randn(batch, channels, size, size).to(memory_format=layout)
    conv = torch.nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=layout)
    cotangent = torch.randn_like(x)
    leaf = x.clone().requires_grad_()

    def forward():
        with torch.inference_mode():
            conv(x)

    def both():
        conv(leaf).backward(cotangent)
        leaf.grad = None
        conv.zero_grad(set_to_none=True)

    return {"forward": forward, "both": both}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, metavar=("B", "C", "HW"), help="instead of the table's")
    common.add_arguments(parser, runs=15)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    for shape in [tuple(args.shape)] if args.shape else SHAPES:
        for part in ["forward", "both"]:
            result = common.measure(
                lambda name: make_passes(shape, name)[part], args.memory_format, args.runs, args.warmup
            )
            common.report(args, shape=shape, part=part, **result)


if __name__ == "__main__":
    main()
