"""The layout of the presets for 28x28 and 32x32, with fewer channels: heads and groups of whole vectors.

The timesteps are angles of TrigFlow, which networks get as they are.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import unet

CONFIG = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [8, 16, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    "attention_head_dim": 8,
    "norm_num_groups": 4,
    "resnet_time_scale_shift": "scale_shift",
}

unet.record(__file__, CONFIG, seed=106, size=(8, 8), timestep=[0.05, 1.5])
