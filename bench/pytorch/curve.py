"""Train in PyTorch what `ct train` trains, from the same weights, on the same images, noise levels and noise.

Reads the folder of a run of `ct` that holds a checkpoint of step 0, and writes one line of JSON per step.
The random numbers, the data, the schedule and the step are written here once more, from their documented formulas
and not from the Rust code's output, so this is an independent check of them:

- Philox4x32-10 streams: the table in `crates/ct-random/src/lib.rs`.
- The order of the images: `crates/ct-data/src/batches.rs`; the digits: `crates/ct-data/src/digits.rs`.
- Improved consistency training: Song & Dhariwal 2023, `docs/MATH.md`.

    ct train digits --set train.recipe=ict --set train.steps=1000 --stop-after 0 --out runs/start
    python bench/pytorch/curve.py --run runs/start --out pytorch.jsonl
"""

import argparse
import gzip
import json
import math
import pathlib
import sys
import time
import tomllib

import numpy as np
import torch
from diffusers import UNet2DModel

DIGITS = pathlib.Path(__file__).parents[2] / "crates/ct-data/data/digits.csv.gz"
TRAIN_COUNT = 1500
# Purposes of streams.
DATA, SHUFFLE, FLIP, NOISE, SIGMA = 1, 2, 3, 4, 5
KEY_DOMAIN = 0x4354_5253
LOW = np.uint64(0xFFFF_FFFF)


def philox(counter, key):
    """Philox4x32-10 of counters [.., 4] with keys [.., 2]; words are kept in 64 bits."""
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    k0, k1 = np.moveaxis(np.asarray(key, np.uint64), -1, 0)
    for _ in range(10):
        p0, p1 = np.uint64(0xD251_1F53) * c0, np.uint64(0xCD9E_8D57) * c2
        c0, c1, c2, c3 = (p1 >> np.uint64(32)) ^ c1 ^ k0, p1 & LOW, (p0 >> np.uint64(32)) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + np.uint64(0x9E37_79B9)) & LOW, (k1 + np.uint64(0xBB67_AE85)) & LOW
    return np.stack([c0, c1, c2, c3], axis=-1)


def split(x):
    """Low and high word of numbers."""
    x = np.asarray(x, np.uint64)
    return np.stack([x & LOW, x >> np.uint64(32)], axis=-1)


def blocks(seed, purpose, step, index, count):
    """The first `count` blocks of the stream of each (step, index): [.., count, 4]."""
    step, index = np.broadcast_arrays(np.asarray(step, np.uint64), np.asarray(index, np.uint64))
    name = np.broadcast_to(np.array([purpose, KEY_DOMAIN], np.uint64), (*step.shape, 2))
    key = philox(np.concatenate([split(step), name], axis=-1), split(seed))[..., :2]
    shape = (*step.shape, count, 2)
    counter = [
        np.broadcast_to(split(np.arange(count)), shape),
        np.broadcast_to(split(index)[..., None, :], shape),
    ]
    return philox(np.concatenate(counter, axis=-1), key[..., None, :])


def open_unit(low, high):
    """Uniform in (0, 1): an odd multiple of 2^-53."""
    return (((high << np.uint64(32) | low) >> np.uint64(12)) * np.uint64(2) + np.uint64(1)) * 2.0**-53


def uniforms(seed, purpose, steps):
    first = blocks(seed, purpose, steps, 0, 1)[..., 0, :]
    return open_unit(first[..., 0], first[..., 1])


def normals(seed, purpose, indices, count):
    """`count` normals of the stream of each index: [len(indices), count] in f64."""
    w = blocks(seed, purpose, 0, indices, (count + 1) // 2)
    radius = np.sqrt(-2 * np.log(open_unit(w[..., 0], w[..., 1])))
    angle = 2 * math.pi * open_unit(w[..., 2], w[..., 3])
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.reshape(len(indices), -1)[:, :count]


def below(words, n):
    """Uniform in 0..n, without bias (Lemire 2019); takes as many words as it needs."""
    while True:
        product = int(next(words)) * n
        if product & 0xFFFF_FFFF >= (2**32 - n) % n:
            return product >> 32


def permutation(seed, purpose, step, n):
    # A word is refused less than once in a million times.
    words = iter(blocks(seed, purpose, step, 0, n // 4 + 10).reshape(-1))
    order = list(range(n))
    for i in range(1, n):
        j = below(words, i + 1)
        order[i], order[j] = order[j], order[i]
    return order


class Images:
    """The training part of the digits, in [-1, 1], dealt out in a new order each epoch."""

    def __init__(self, seed, flip):
        rows = np.array([line.split(",") for line in gzip.open(DIGITS, "rt").read().split()], np.float32)
        order = permutation(0, DATA, 0, len(rows))[:TRAIN_COUNT]
        self.images = (rows[order, :64] / 8 - 1).reshape(-1, 1, 8, 8)
        self.seed, self.flip, self.orders = seed, flip, {}

    def order(self, epoch):
        if epoch not in self.orders:
            self.orders = {epoch: permutation(self.seed, SHUFFLE, epoch, len(self.images))}
        return self.orders[epoch]

    def batch(self, numbers):
        size = len(self.images)
        x = self.images[[self.order(n // size)[n % size] for n in numbers]].copy()
        if self.flip:
            first = blocks(self.seed, FLIP, numbers, 0, 1)[:, 0, 0]
            mirrored = (first >> np.uint64(31)) == 1
            x[mirrored] = x[mirrored][..., ::-1]
        return torch.from_numpy(x)


def ict_pairs(config, step, u):
    """The two noise levels and the weight of each sample."""
    ict, noise, total = config["train"]["ict"], config["noise"], config["train"]["steps"]
    stage_steps = max(math.floor(total / (math.log2(ict["s1"] // ict["s0"]) + 1)), 1)
    n = min(ict["s0"] * 2 ** (step // stage_steps), ict["s1"])
    root = 1 / noise["rho"]
    low, high = noise["sigma_min"] ** root, noise["sigma_max"] ** root
    grid = (low + np.arange(n + 1) / n * (high - low)) ** noise["rho"]
    grid[0], grid[-1] = noise["sigma_min"], noise["sigma_max"]
    z = (np.log(grid) - ict["p_mean"]) / (math.sqrt(2) * ict["p_std"])
    mass = np.diff([math.erf(z) for z in z])
    index = np.minimum(np.searchsorted(np.cumsum(mass / mass.sum()), u, side="right"), n - 1)
    return grid[index + 1], grid[index], 1 / (grid[index + 1] - grid[index])


def column(x):
    return torch.from_numpy(np.asarray(x, np.float32))[:, None, None, None]


def consistency(model, noise, x, sigma):
    """f(x, sigma); x: [B, C, H, W], sigma: [B] in f64."""
    sd, delta = noise["sigma_data"], sigma - noise["sigma_min"]
    root = np.sqrt(sigma**2 + sd**2)
    c_noise = torch.from_numpy((250 * np.log(sigma)).astype(np.float32))
    output = model(x * column(1 / root), c_noise).sample
    return x * column(sd**2 / (delta**2 + sd**2)) + output * column(sd * delta / root)


def learning_rate(train, step):
    warmup, total = train["warmup_steps"], train["steps"]
    lr = train["lr"] * (1.0 if step + 1 >= warmup else (step + 1) / warmup)
    if train["lr_schedule"] == "cosine" and step > warmup:
        lr *= 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
    return lr


def load(run):
    """The configuration and the weights before the first step."""
    config = tomllib.loads((run / "config.toml").read_text())
    train = config["train"]
    expected = {"recipe": "ict", "loss": "pseudo-huber", "optimizer": "radam"}
    found = {key: train[key] for key in expected}
    if found != expected or config["data"]["source"] != "digits" or train["lr_schedule"] not in ("cosine", "constant"):
        sys.exit(f"this script trains the digits with {expected}, the run has {found}")
    model = next((run / "checkpoints" / "step-00000000").glob("ema-*/unet"), None)
    if model is None:
        sys.exit(f"{run} holds no checkpoint of step 0; make one with `ct train .. --stop-after 0`")
    return config, UNet2DModel.from_pretrained(model).train()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="folder of a run with a checkpoint of step 0")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="where the lines go")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    config, model = load(args.run)
    train, noise, seed = config["train"], config["noise"], config["seed"]
    images = Images(seed, config["data"]["flip"])
    settings = {"betas": (train["beta1"], train["beta2"]), "eps": train["eps"], "weight_decay": train["weight_decay"]}
    optimizer = torch.optim.RAdam(model.parameters(), lr=train["lr"], **settings)
    c = 0.00054 * math.sqrt(64)
    start = time.perf_counter()
    with args.out.open("w") as out:
        for step in range(train["steps"]):
            numbers = np.arange(train["batch_size"], dtype=np.uint64) + np.uint64(step * train["batch_size"])
            x0 = images.batch([int(n) for n in numbers])
            z = torch.from_numpy(normals(seed, NOISE, numbers, 64).astype(np.float32)).reshape(x0.shape)
            hi, lo, weight = ict_pairs(config, step, uniforms(seed, SIGMA, numbers))

            with torch.no_grad():
                target = consistency(model, noise, x0 + z * column(lo), lo)
            estimate = consistency(model, noise, x0 + z * column(hi), hi)
            squares = (estimate - target).double().square().sum(dim=(1, 2, 3))
            loss = (((squares + c * c).sqrt() - c) * torch.from_numpy(weight)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.param_groups[0]["lr"] = learning_rate(train, step)
            optimizer.step()

            line = {"step": step + 1, "loss": loss.item(), "wall_secs": round(time.perf_counter() - start, 3)}
            print(json.dumps(line), file=out, flush=True)
            if (step + 1) % 100 == 0:
                print(f"step {step + 1}: loss {loss.item():.5f}", flush=True)


if __name__ == "__main__":
    main()
