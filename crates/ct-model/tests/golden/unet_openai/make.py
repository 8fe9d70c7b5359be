"""The published ImageNet-64 consistency model, in small: residual resampling blocks at the top level."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import unet

CONFIG = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [4, 8, 8],
    "layers_per_block": 1,
    "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    "attention_head_dim": 4,
    "norm_num_groups": 2,
    "attn_norm_num_groups": 2,
    "resnet_time_scale_shift": "scale_shift",
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "num_class_embeds": 5,
}

unet.record(__file__, CONFIG, seed=104, size=(8, 8), timestep=[-1553.6520, 230.2585], class_labels=[0, 4])
