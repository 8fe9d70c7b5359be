"""What the PyTorch benchmarks share: named networks, settings, timing, one line of JSON."""

import json
import os
import pathlib
import resource
import statistics
import sys
import time
import tomllib

# A malloc that keeps its memory helps PyTorch by a few percent; glibc reads these once, at start.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
if not KEEP_MEMORY.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})

import torch
from diffusers import UNet2DModel

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
ROOT = pathlib.Path(__file__).resolve().parents[2]
# Timings of one measurement, however short one of them is.
MAX_RUNS = 200


def read_toml(path):
    return tomllib.loads((ROOT / path).read_text())


def load_configs():
    """Networks by name, read from the files that our own benches read."""
    networks = read_toml("bench/networks.toml")
    for preset, size, channels in (("digits", 8, 1), ("icons", 32, 3)):
        image = {"sample_size": size, "in_channels": channels, "out_channels": channels}
        networks[preset] = read_toml(f"presets/{preset}.toml")["model"]["unet"] | image
    return networks


CONFIGS = load_configs()


def build(config, memory_format):
    torch.manual_seed(0)
    return UNet2DModel(**config).to(memory_format=FORMATS[memory_format])


def images(config, batch, memory_format):
    size = config["sample_size"]
    return torch.randn(batch, config["in_channels"], size, size).to(memory_format=FORMATS[memory_format])


def formats(choice):
    return list(FORMATS) if choice == "best" else [choice]


def times_ms(function, args):
    """At least `runs` timings, and as many as fit into `seconds`."""
    for _ in range(args.warmup):
        function()
    times = []
    start = time.perf_counter()
    while len(times) < args.runs or (time.perf_counter() - start < args.seconds and len(times) < MAX_RUNS):
        begin = time.perf_counter()
        function()
        times.append(round(1e3 * (time.perf_counter() - begin), 4))
    return times


def measure(name, make, args):
    """Time what `make(memory_format)` returns, once per format, and print a line; the fastest is the answer."""
    by_format = {layout: times_ms(make(layout), args) for layout in formats(args.memory_format)}
    medians = {layout: statistics.median(times) for layout, times in by_format.items()}
    fastest = min(medians, key=medians.get)
    report(name, args, ms=medians[fastest], memory_format=fastest, times_ms=by_format)


def peak_rss_mib():
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def report(name, args, **facts):
    # The peak of one format says nothing about the other: it is told where one was named.
    if args.memory_format != "best":
        facts["peak_rss_mib"] = peak_rss_mib()
    print(json.dumps({"name": name, **facts, "threads": args.threads, "torch": torch.__version__}), flush=True)
