"""Double normalization (arXiv 2410.11081, section 4.1), which diffusers does not have.

Its UNet with scale and shift, in which the projection of the time embedding is replaced:
a linear layer each for scale and shift, each output divided by its root mean square.
"""

import pathlib
import sys

import torch
from diffusers import UNet2DModel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import unet

EPS = 1e-2

CONFIG = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 8,
    "norm_num_groups": 4,
    "attn_norm_num_groups": 2,
    "resnet_time_scale_shift": "double_norm",
}


class DoubleNorm(torch.nn.Module):
    """Scale minus 1, since the block adds 1 to it, then shift."""

    def __init__(self, width, channels):
        super().__init__()
        self.scale = torch.nn.Linear(width, channels)
        self.shift = torch.nn.Linear(width, channels)

    def forward(self, embedding):
        scale, shift = (v / torch.sqrt((v * v).mean(-1, keepdim=True) + EPS) for v in (self.scale(embedding), self.shift(embedding)))
        return torch.cat((scale - 1.0, shift), dim=-1)


def double_norm_unet(**config):
    model = UNet2DModel(**config | {"resnet_time_scale_shift": "scale_shift"})
    for module in model.modules():
        if isinstance(getattr(module, "time_emb_proj", None), torch.nn.Linear):
            old = module.time_emb_proj
            module.time_emb_proj = DoubleNorm(old.in_features, old.out_features // 2)
    return model


unet.UNet2DModel = double_norm_unet
unet.record(__file__, CONFIG, seed=107, size=(8, 8), timestep=[0.3, 1.2])
