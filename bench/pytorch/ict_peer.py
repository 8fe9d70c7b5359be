"""Train in PyTorch with the library Kinyugo/consistency_models, to set its samples beside ours.

Its own code runs: improved consistency training, its loss, its moving average and its sampler, from an installed
package or from a checkout named by --peer (commit 2e6618d is the one that was read).
The network is diffusers' UNet2DModel as our preset describes it, and data, batch and number of images are ours.
Where that library departs from the paper (Song & Dhariwal 2023), the departure stays, as its users have it:

- The pseudo-Huber distance is taken of each value, not of a whole sample; c still grows with the size of the sample.
- The network is fed the noisy images as they are (no c_in) and sigma itself (no c_noise).
  `--rescale` gives it c_in x and 250 ln sigma instead, which a user of the library can do inside their network.
- The noise levels, their distribution, the weight 1 / (sigma_hi - sigma_lo), c_skip and c_out are the paper's.

Settings: `--settings preset` takes sigma_max, s0, s1, the lognormal, the optimizer (RAdam), its rate and schedule from
our preset; `--settings peer` takes those of the library's notebook: sigma_max 80, s0 10, s1 11, mean -1.1, deviation
2.0, Adam with lr 1e-4 and betas (0.9, 0.995), 1000 steps of linear warm-up. That notebook passes the arguments of
`update_ema_model_` in the wrong order; here they stand as its README has them. The decay is our preset's, constant.

    python bench/pytorch/ict_peer.py --peer DIR --data digits --out runs/digits-peer
    python bench/pytorch/ict_peer.py --peer DIR --data idx:FASHION --steps 12000 --batch 32 --out runs/fashion-peer
    python bench/pytorch/ict_peer.py --peer DIR --data folder:PICTURES --out runs/pictures-peer

Writes into the folder `samples-1.safetensors` (one step) and `samples-2.safetensors` (two), each `samples`
[N, C, H, W] in [-1, 1] by the averaged weights, as `ct eval --samples` reads them, a picture of the first 64 beside
each, and last of all `facts.json`: images seen, seconds and settings.
`cargo xtask compare --peer PYTHON` calls this for its row.
"""

import argparse
import copy
import gzip
import json
import os
import pathlib
import sys
import time

from common import FORMATS, KEEP_MEMORY, read_toml  # restarts this process with a malloc that keeps its memory

import numpy as np
import safetensors.torch
import torch
from curve import DATA, DIGITS, TRAIN_COUNT, learning_rate, permutation
from diffusers import UNet2DModel

assert KEEP_MEMORY.items() <= os.environ.items()
# What `ct train` does where a preset says nothing.
NOISE = {"sigma_min": 0.002, "rho": 7.0, "sigma_data": 0.5}
TRAIN = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
MID_SIGMA = 0.821
# The notebook of the library, for ten thousand steps.
PEER = {
    "sigma_max": 80.0,
    "ict": {"s0": 10, "s1": 11, "p_mean": -1.1, "p_std": 2.0},
    "lr": 1e-4,
    "betas": (0.9, 0.995),
    "warmup_steps": 1000,
}
SAMPLE_BATCH = 250


def read_digits():
    rows = np.array([line.split(",") for line in gzip.open(DIGITS, "rt").read().split()], np.float32)
    order = permutation(0, DATA, 0, len(rows))[:TRAIN_COUNT]
    return rows[order, :64].reshape(-1, 1, 8, 8) / 8 - 1


def read_idx(folder):
    path = next(iter(sorted(folder.glob("train-images*"))), None)
    if path is None:
        sys.exit(f"{folder} holds no file train-images-idx3-ubyte, raw or gzip")
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    count, height, width = np.frombuffer(raw, ">u4", 3, offset=4)
    return np.frombuffer(raw, np.uint8, offset=16).reshape(count, 1, height, width)


def read_folder(folder, size):
    """Pictures that have the right size already, as `cargo xtask data emoji` makes them."""
    from PIL import Image

    folder = folder / "train" if (folder / "train").is_dir() else folder
    paths = sorted(folder.rglob("*.png"))
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    if not pictures or {picture.shape for picture in pictures} != {(size, size, 3)}:
        sys.exit(f"{folder} must hold PNG files of {size}x{size} pixels and no others")
    return np.stack(pictures).transpose(0, 3, 1, 2)


def load(spec):
    """The preset and the training images, [N, C, H, W] as bytes or f32 in [-1, 1]."""
    kind, _, path = spec.partition(":")
    names = {"digits": "digits", "idx": "fashion", "folder": "icons"}
    if kind not in names or (kind != "digits" and not path):
        sys.exit(f"unknown data `{spec}`: digits, idx:PATH or folder:PATH")
    preset = read_toml(f"presets/{names[kind]}.toml")
    if kind == "digits":
        return preset, read_digits()
    path = pathlib.Path(path)
    return preset, read_folder(path, preset["data"]["size"]) if kind == "folder" else read_idx(path)


def batches(images, size, flip, generator):
    """Every image once in each epoch, in a new order, in [-1, 1]."""
    images = torch.from_numpy(np.array(images))
    order = torch.empty(0, dtype=torch.int64)
    while True:
        while len(order) < size:
            order = torch.cat([order, torch.randperm(len(images), generator=generator)])
        x, order = images[order[:size]], order[size:]
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x
        if flip:
            mirrored = torch.rand(size, generator=generator) < 0.5
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        yield x


class Network(torch.nn.Module):
    """diffusers' network with the interface of the library: (x, sigma) -> F."""

    def __init__(self, config, rescale):
        super().__init__()
        self.unet = UNet2DModel(**config)
        self.rescale = rescale

    def forward(self, x, sigma):
        if self.rescale:
            x = x / (sigma**2 + NOISE["sigma_data"] ** 2).sqrt()[:, None, None, None]
            sigma = 250 * sigma.log()
        return self.unet(x, sigma).sample


def optimizer_of(args, train, parameters):
    """The optimizer, and the learning rate of each step."""
    if args.settings == "peer":
        warmup = PEER["warmup_steps"]
        rate = lambda step: PEER["lr"] * min(1.0, 1e-5 + (1 - 1e-5) * step / warmup)
        return torch.optim.Adam(parameters, lr=PEER["lr"], betas=PEER["betas"]), rate
    settings = {"betas": (train["beta1"], train["beta2"]), "eps": train["eps"], "weight_decay": train["weight_decay"]}
    optimizer = torch.optim.RAdam(parameters, lr=train["lr"], **settings)
    return optimizer, lambda step: learning_rate(train, step)


def train_peer(args, peer, preset, noise, images, model):
    """The averaged network and the seconds that training took."""
    train = TRAIN | preset["train"] | {"steps": args.steps}
    ict = PEER["ict"] if args.settings == "peer" else train["ict"]
    objective = peer.ImprovedConsistencyTraining(
        sigma_min=noise["sigma_min"],
        sigma_max=noise["sigma_max"],
        rho=noise["rho"],
        sigma_data=noise["sigma_data"],
        initial_timesteps=ict["s0"],
        final_timesteps=ict["s1"],
        lognormal_mean=ict["p_mean"],
        lognormal_std=ict["p_std"],
    )
    from consistency_models.utils import update_ema_model_

    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer, rate = optimizer_of(args, train, model.parameters())
    # Photographs are mirrored and symbols are not, as in `ct train`.
    flip = preset.get("data", {}).get("flip", args.data.startswith("folder"))
    data = batches(images, args.batch, flip, torch.Generator().manual_seed(args.seed))
    start = time.perf_counter()
    for step in range(args.steps):
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.zero_grad(set_to_none=True)
        x = next(data).to(memory_format=FORMATS[args.memory_format])
        output = objective(model, x, step, args.steps)
        loss = (peer.pseudo_huber_loss(output.predicted, output.target) * output.loss_weights).mean()
        loss.backward()
        optimizer.step()
        update_ema_model_(average, model, train["ema"][0])
        if (step + 1) % args.log_every == 0 or step + 1 == args.steps:
            secs = time.perf_counter() - start
            line = {"step": step + 1, "loss": loss.item(), "levels": int(output.num_timesteps), "secs": round(secs, 1)}
            print(json.dumps(line | {"ms_per_step": round(1e3 * secs / (step + 1), 1)}), flush=True)
    return average, time.perf_counter() - start


def sample(args, peer, noise, model, shape, sigmas):
    sampler = peer.ConsistencySamplingAndEditing(sigma_min=noise["sigma_min"], sigma_data=noise["sigma_data"])
    with torch.inference_mode():
        parts = [
            sampler(model, torch.zeros(min(SAMPLE_BATCH, args.num - i), *shape), sigmas=sigmas, clip_denoised=True)
            for i in range(0, args.num, SAMPLE_BATCH)
        ]
    return torch.cat(parts)


def save_picture(samples, path):
    """Eight samples in a row."""
    from PIL import Image

    pixels = ((samples + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    rows = [np.concatenate(list(pixels[i : i + 8]), axis=1) for i in range(0, len(pixels) // 8 * 8, 8)]
    Image.fromarray(np.concatenate(rows).squeeze()).save(path)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="digits, idx:PATH (Fashion-MNIST) or folder:PATH")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of what is made")
    parser.add_argument("--steps", type=int, help="our preset's if absent")
    parser.add_argument("--batch", type=int, help="our preset's if absent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num", type=int, default=5000, help="samples of each kind")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--settings", choices=["preset", "peer"], default="preset")
    parser.add_argument("--rescale", action="store_true", help="feed the network c_in x and 250 ln sigma")
    parser.add_argument("--mid-sigma", type=float, default=MID_SIGMA, help="second noise level of two steps")
    parser.add_argument("--memory-format", choices=list(FORMATS), default="contiguous")
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--peer", type=pathlib.Path, help="checkout of Kinyugo/consistency_models, if not installed")
    return parser.parse_args()


def main():
    args = parse()
    if args.peer:
        sys.path.insert(0, str(args.peer))
    try:
        import consistency_models as peer
    except ImportError:
        sys.exit("consistency_models is not installed; clone Kinyugo/consistency_models and name its folder by --peer")
    preset, images = load(args.data)
    args.steps = args.steps or preset["train"]["steps"]
    args.batch = args.batch or preset["train"]["batch_size"]
    noise = NOISE | preset["noise"] | ({"sigma_max": PEER["sigma_max"]} if args.settings == "peer" else {})

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    shape = images.shape[1:]
    config = preset["model"]["unet"] | {"sample_size": shape[1], "in_channels": shape[0], "out_channels": shape[0]}
    model = Network(config, args.rescale).to(memory_format=FORMATS[args.memory_format])
    average, train_secs = train_peer(args, peer, preset, noise, images, model)

    args.out.mkdir(parents=True, exist_ok=True)
    sample_secs = []
    for steps, sigmas in {1: [noise["sigma_max"]], 2: [noise["sigma_max"], args.mid_sigma]}.items():
        start = time.perf_counter()
        samples = sample(args, peer, noise, average, shape, sigmas).contiguous()
        sample_secs.append(round(time.perf_counter() - start, 3))
        save_picture(samples[:64], args.out / f"samples-{steps}.png")
        safetensors.torch.save_file({"samples": samples}, args.out / f"samples-{steps}.safetensors")
    facts = {key: str(value) for key, value in vars(args).items() if key not in ("out", "peer")}
    facts |= {"images_seen": args.steps * args.batch, "train_secs": round(train_secs, 1), "sample_secs": sample_secs}
    facts |= {"torch": torch.__version__, "num_parameters": sum(p.numel() for p in model.parameters())}
    beside = args.out / "facts.json.partial"
    beside.write_text(json.dumps(facts, indent=2) + "\n")
    beside.rename(args.out / "facts.json")
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
