"""The smaller options: epsilon, scaled middle block, centred input, one wide head in the middle only,
its own number of groups there, a time embedding of its own width, more channels out than in."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import unet

CONFIG = {
    "sample_size": 6,
    "in_channels": 2,
    "out_channels": 3,
    "block_out_channels": [6, 8],
    "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "attention_head_dim": None,
    "norm_num_groups": 2,
    "attn_norm_num_groups": 4,
    "norm_eps": 0.05,
    "act_fn": "silu",
    "mid_block_scale_factor": 1.5,
    "center_input_sample": True,
    "time_embedding_dim": 20,
}

unet.record(__file__, CONFIG, seed=105, size=(6, 6), timestep=[17.25, -301.5])
