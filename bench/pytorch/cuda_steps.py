"""Training steps and sampling of PyTorch on a GPU: eager f32, channels_last with bf16 autocast, torch.compile.

Prints a line of JSON for each measurement: milliseconds of every timing, images per second of the median, peak memory.
Names are those of crates/ct-train/benches/device_steps.rs, which `run.sh` of `cargo xtask pack` runs beside this
on the same GPU; never run by tests.
usage: cuda_steps.py [--runs N] [NETWORK ...]
"""

import argparse
import json
import statistics

import torch

import common
from train_step import consistency, consistency_step

WARMUP = 5
# Networks, and the batches that each is trained with.
BATCHES = {"icons": [128], "cifar": [128, 512]}
SAMPLES = [1, 256]
SETTINGS = {"eager_f32": (False, False, False), "bf16": (True, False, True), "compile_bf16": (True, True, True)}


def build(config, channels_last, compiled):
    layout = "channels_last" if channels_last else "contiguous"
    model = common.build(config, layout).cuda()
    images = lambda batch: common.images(config, batch, layout).cuda()
    return (torch.compile(model) if compiled else model), images


def train_step(model, x0, bf16):
    parameters = list(model.parameters())
    ema = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    amp = torch.autocast("cuda", torch.bfloat16, enabled=bf16)
    return consistency_step(model, parameters, ema, optimizer, x0, amp)


def sample(model, x, bf16):
    sigma = torch.full((len(x),), 80.0, device="cuda")
    amp = torch.autocast("cuda", torch.bfloat16, enabled=bf16)

    def one_step():
        with torch.inference_mode(), amp:
            consistency(model, 80.0 * x, sigma)

    return one_step


def times_ms(function, runs):
    for _ in range(WARMUP):
        function()
    times = []
    for _ in range(runs):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=list(BATCHES))
    parser.add_argument("--runs", type=int, default=20)
    args = parser.parse_args()
    for network in args.networks:
        work = [("train_step", batch) for batch in BATCHES.get(network, [128])] + [("sample", num) for num in SAMPLES]
        for name, (channels_last, compiled, bf16) in SETTINGS.items():
            for kind, batch in work:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                model, images = build(common.CONFIGS[network], channels_last, compiled)
                make = train_step if kind == "train_step" else sample
                times = times_ms(make(model, images(batch), bf16), args.runs)
                median = statistics.median(times)
                print(json.dumps({
                    "name": f"cuda/{kind}/{network}_b{batch}/{name}",
                    "times_ms": times,
                    "images_per_s": 1000 * batch / median,
                    "peak_mib": torch.cuda.max_memory_allocated() / 2**20,
                    "gpu": torch.cuda.get_device_name(),
                    "torch": torch.__version__,
                }), flush=True)


if __name__ == "__main__":
    main()
