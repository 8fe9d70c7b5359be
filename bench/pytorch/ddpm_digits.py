"""A small DDPM of the embedded digits, trained by PyTorch and saved by diffusers: what `ct` is to start from.

    python ddpm_digits.py --out DIR [--steps N] [--threads N]

The usual training: a step t of 1000 at random, the noise predicted, the squared error; an average of the weights is saved.
All 1,797 digits are learned from, so that no held-out digit is new to this model.
"""

import argparse
import copy
import gzip
import pathlib
import time

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--out", type=pathlib.Path, required=True)
parser.add_argument("--steps", type=int, default=4000)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_args()

torch.set_num_threads(args.threads)
torch.manual_seed(0)
DIGITS = pathlib.Path(__file__).resolve().parents[2] / "crates" / "ct-data" / "data" / "digits.csv.gz"
rows = [line.split(",")[:64] for line in gzip.open(DIGITS, "rt")]
images = torch.tensor([[float(value) for value in row] for row in rows]).view(-1, 1, 8, 8) / 8 - 1

unet = UNet2DModel(
    sample_size=8,
    in_channels=1,
    out_channels=1,
    block_out_channels=(32, 64),
    layers_per_block=1,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=16,
    norm_num_groups=8,
)
average = copy.deepcopy(unet)
scheduler = DDPMScheduler()
optimizer = torch.optim.Adam(unet.parameters(), lr=args.lr)
rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
start, shown = time.perf_counter(), 0.0
for step in range(args.steps):
    clean = images[torch.randint(len(images), (args.batch_size,))]
    noise = torch.randn_like(clean)
    times = torch.randint(scheduler.config.num_train_timesteps, (args.batch_size,))
    loss = (unet(scheduler.add_noise(clean, noise, times), times).sample - noise).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    rate.step()
    decay = min(0.995, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, now in zip(average.parameters(), unet.parameters()):
            mean.lerp_(now, 1 - decay)
    shown += loss.item() / 500
    if (step + 1) % 500 == 0:
        print(f"step {step + 1}: loss {shown:.4f}, {time.perf_counter() - start:.0f} s", flush=True)
        shown = 0.0
DDPMPipeline(unet=average, scheduler=scheduler).save_pretrained(args.out)
