"""Fourier features of ln(timestep), output divided by timestep, asymmetric padding, no attention.

The image is not square, and its height is odd at the lower level. The timestep is sigma itself.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import unet

CONFIG = {
    "sample_size": [6, 10],
    "in_channels": 2,
    "out_channels": 2,
    "block_out_channels": [6, 12],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "attention_head_dim": 8,
    "norm_num_groups": 3,
    "add_attention": False,
    "downsample_padding": 0,
    "time_embedding_type": "fourier",
}

unet.record(__file__, CONFIG, seed=103, size=(6, 10), timestep=[2.7182817, 0.3141])
