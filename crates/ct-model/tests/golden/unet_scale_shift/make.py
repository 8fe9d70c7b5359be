"""Scale and shift from the time embedding, resampling inside residual blocks, classes, sin before cos.

Under `scale_shift` the attention of the middle block has no group norm (`attn_norm_num_groups` unset),
and `DownBlock2D`, `UpBlock2D` resample by convolution whatever the resampling type says.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import unet

CONFIG = {
    "sample_size": 16,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [4, 8, 8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 4,
    "norm_num_groups": 2,
    "resnet_time_scale_shift": "scale_shift",
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "num_class_embeds": 10,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}

unet.record(__file__, CONFIG, seed=102, size=(16, 16), timestep=[412.1802, -49.3507], class_labels=[7, 2])
