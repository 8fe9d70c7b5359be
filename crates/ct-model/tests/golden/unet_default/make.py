"""The plain layout: one block without attention, one with; all options at their defaults."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import unet

CONFIG = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 12],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 4,
    "norm_num_groups": 4,
    "downsample_padding": 1,
}

# 250 ln sigma at sigma = 80 and sigma = 0.1.
unet.record(__file__, CONFIG, seed=101, size=(8, 8), timestep=[1095.5067, -575.6463])
