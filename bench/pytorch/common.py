"""What the PyTorch benchmarks share: named networks, settings, timing, one line of JSON."""

import json
import os
import pathlib
import resource
import statistics
import sys
import time

# A malloc that keeps its memory helps PyTorch by a few percent; glibc reads these once, at start.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
if not KEEP_MEMORY.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})

import torch
from diffusers import UNet2DModel

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def unet(size, channels, widths, attention, layers=2, head_dim=8, groups=32):
    """Options of a UNet2DModel with attention at the levels where `attention` is true."""
    down = ["AttnDownBlock2D" if here else "DownBlock2D" for here in attention]
    up = ["AttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attention)]
    return {
        "sample_size": size,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": widths,
        "down_block_types": down,
        "up_block_types": up,
        "layers_per_block": layers,
        "attention_head_dim": head_dim,
        "norm_num_groups": groups,
    }


# Name: (network, batch of a training step).
CONFIGS = {
    "unet28_b64": (unet(28, 1, (32, 64, 128), (False, False, True), head_dim=32), 64),
    "unet32_b16": (unet(32, 3, (64, 128, 256), (False, False, True), head_dim=64), 16),
    "digits": (unet(8, 1, (64, 128), (False, True), head_dim=32), 128),
}


def build(config, memory_format):
    torch.manual_seed(0)
    return UNet2DModel(**config).to(memory_format=FORMATS[memory_format])


def images(config, batch, memory_format):
    size = config["sample_size"]
    return torch.randn(batch, config["in_channels"], size, size).to(memory_format=FORMATS[memory_format])


def add_arguments(parser, runs):
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--memory-format", choices=[*FORMATS, "best"], default="best")


def formats(choice):
    return list(FORMATS) if choice == "best" else [choice]


def median_ms(function, runs, warmup):
    for _ in range(warmup):
        function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def measure(make, choice, runs, warmup):
    """Time what `make(memory_format)` returns, once per format; the fastest is the answer."""
    by_format = {name: round(median_ms(make(name), runs, warmup), 4) for name in formats(choice)}
    fastest = min(by_format, key=by_format.get)
    return {"median_ms": by_format[fastest], "memory_format": fastest, "by_format_ms": by_format}


def report(args, **facts):
    facts |= {
        "bench": pathlib.Path(sys.argv[0]).stem,
        "threads": args.threads,
        "runs": args.runs,
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "torch": torch.__version__,
    }
    print(json.dumps(facts), flush=True)
