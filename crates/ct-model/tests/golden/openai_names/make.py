"""A small UNet by openai's own code, with its own names: state dict, inputs and outputs.

    python make.py --openai DIR

DIR is a checkout of openai/consistency_models (commit e32b69e); `cm.unet.UNetModel` is built and run.
Its group norm has 4 groups here in place of 32, and its attention, which needs a GPU, is written out from its
description: queries, keys and values are thirds of the channels, each split into heads.

Keys: the state dict under its own names; `in.sample` [2, 3, 8, 8], `in.timestep` [2], `in.class_labels` [2],
`out.sample` [2, 3, 8, 8].
"""

import argparse
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import golden

SEED = 401


class Attention(torch.nn.Module):
    def __init__(self, channels, num_heads):
        super().__init__()
        self.num_heads = num_heads

    def forward(self, qkv, encoder_kv=None):
        batch, width, length = qkv.shape
        q, k, v = qkv.reshape(batch, 3, self.num_heads, width // 3 // self.num_heads, length).unbind(1)
        weights = torch.einsum("bhdi,bhdj->bhij", q, k) / q.shape[2] ** 0.5
        return torch.einsum("bhij,bhdj->bhdi", weights.softmax(-1), v).reshape(batch, width // 3, length)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--openai", type=pathlib.Path, required=True)
sys.path.insert(0, str(parser.parse_args().openai))
import cm.unet

cm.unet.QKVFlashAttention = Attention
cm.unet.normalization = lambda channels: torch.nn.GroupNorm(4, channels)

torch.set_num_threads(1)
torch.manual_seed(SEED)
network = cm.unet.UNetModel(
    image_size=8,
    in_channels=3,
    model_channels=8,
    out_channels=3,
    num_res_blocks=2,
    attention_resolutions=(2,),
    channel_mult=(1, 2),
    num_classes=5,
    num_head_channels=4,
    use_scale_shift_norm=True,
    resblock_updown=True,
).eval()
for value in network.parameters():
    # Some start at zero.
    torch.nn.init.normal_(value, std=0.15)
inputs = {
    "sample": torch.randn(2, 3, 8, 8),
    "timestep": torch.tensor([12.5, 640.0]),
    "class_labels": torch.tensor([1, 4]),
}
with torch.inference_mode():
    output = network(inputs["sample"], inputs["timestep"], inputs["class_labels"])
tensors = dict(network.state_dict()) | {f"in.{name}": value for name, value in inputs.items()} | {"out.sample": output}
golden.save(
    HERE / "case.safetensors",
    tensors,
    __file__,
    seed=str(SEED),
    versions=golden.versions("torch", "safetensors"),
    tolerances={"out": 1e-4},
)
