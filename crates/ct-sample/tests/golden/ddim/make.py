"""Ten steps of diffusers' DDIMScheduler (eta 0, no clipping) with a small random UNet.

`model` is the folder that diffusers writes: a UNet2DModel and its DDIMScheduler. Network and steps are
computed in float64 from the float32 weights; the scheduler's table is float32, as diffusers has it.

Keys: `noise` is z, [N, C, H, W]. The start is sigma z in our terms, sigma z / sqrt(1 + sigma^2) in those of
the scheduler. `sigmas` are the noise levels of the steps, then 0; `samples` is the result.
"""

import pathlib
import sys

import torch
from diffusers import DDIMScheduler, UNet2DModel

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "ct-model" / "tests" / "golden"))

import golden
import unet

SEED, STEPS, NUM = 411, 10, 3
CONFIG = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [4, 8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "mid_block_type": None,
    "attention_head_dim": 4,
    "norm_num_groups": 2,
}
# Relative to the largest value; diffusers keeps its table in float32.
TOLERANCE = 1e-4

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
generator = torch.Generator().manual_seed(SEED)
model = UNet2DModel(**CONFIG).eval()
unet.draw_weights(model, generator)
scheduler = DDIMScheduler(clip_sample=False)
model.save_pretrained(HERE / "model" / "unet")
scheduler.save_pretrained(HERE / "model" / "scheduler")

model.double()
model.time_proj = unet.ExactTimesteps(CONFIG["block_out_channels"][0], 0, True)
scheduler.set_timesteps(STEPS)
alphas = scheduler.alphas_cumprod.double()[scheduler.timesteps]
sigmas = ((1 - alphas) / alphas) ** 0.5
noise = unet.normal(generator, NUM, 1, 8, 8)
x = noise * sigmas[0] / (1 + sigmas[0] ** 2) ** 0.5
with torch.no_grad():
    for step in scheduler.timesteps:
        x = scheduler.step(model(x, step.double()).sample, step, x, eta=0.0).prev_sample
golden.save(
    HERE / "case.safetensors",
    {"noise": noise.float(), "sigmas": torch.cat([sigmas, torch.zeros(1).double()]), "samples": x.float()},
    __file__,
    seed=str(SEED),
    recipe_sha256=golden.sha256(unet.__file__),
    versions=golden.versions("torch", "diffusers", "safetensors"),
    tolerance=str(TOLERANCE),
)
