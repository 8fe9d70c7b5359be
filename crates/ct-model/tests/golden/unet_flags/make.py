"""One small case for each block type and flag of diffusers' UNet2DModel.

Weights are drawn so that float16 holds them exactly, and are stored so; inputs are
float32. Outputs are computed in float64, as in unet.py. Cases named in GRADIENTS
also have the gradients of every parameter.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import torch
from diffusers import UNet2DModel

import golden
import unet

BASE = {
    "sample_size": 8,
    "block_out_channels": [4, 8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "attention_head_dim": 4,
    "norm_num_groups": 2,
}


def blocks(down, up=None, **flags):
    """Both levels of one kind, or one kind for each."""
    down = [down, down] if isinstance(down, str) else down
    up = up or [name.replace("Down", "Up") for name in reversed(down)]
    return {"down_block_types": down, "up_block_types": up, "mid_block_type": None, **flags}


SKIP = {"block_out_channels": [8, 12], "norm_num_groups": None}

CASES = {
    "down_block": blocks("DownBlock2D"),
    "attn_down_block": blocks("AttnDownBlock2D"),
    "resnet_downsample_block": blocks(
        "ResnetDownsampleBlock2D", ["ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"]
    ),
    "skip_down_block": blocks("SkipDownBlock2D", time_embedding_type="fourier", norm_eps=1e-6, time_embedding_dim=8, **SKIP),
    "skip_down_block_middle": {
        **blocks("SkipDownBlock2D", **SKIP),
        "mid_block_type": "UNetMidBlock2D",
        "mid_block_scale_factor": 1.41421356237,
        "attention_head_dim": None,
        "time_embedding_dim": 8,
    },
    "attn_skip_down_block": blocks(
        "AttnSkipDownBlock2D", block_out_channels=[32, 32], norm_num_groups=None, time_embedding_dim=8
    ),
    "skip_and_plain": blocks(
        ["SkipDownBlock2D", "DownBlock2D"], ["UpBlock2D", "SkipUpBlock2D"], block_out_channels=[8, 8]
    ),
    "old_block_names": blocks(["UNetResDownBlock2D", "UNetResAttnDownBlock2D"]),
    "middle": {},
    "middle_without_attention": {"add_attention": False},
    "middle_scale_factor": {"mid_block_scale_factor": 1.5},
    "downsample_type_resnet": blocks("AttnDownBlock2D", downsample_type="resnet"),
    "upsample_type_resnet": blocks("AttnDownBlock2D", upsample_type="resnet"),
    "downsample_padding_0": blocks("DownBlock2D", downsample_padding=0),
    "time_fourier": blocks("DownBlock2D", time_embedding_type="fourier"),
    "time_learned": blocks("DownBlock2D", time_embedding_type="learned", num_train_timesteps=10),
    "time_flip_false": blocks("DownBlock2D", flip_sin_to_cos=False),
    "time_freq_shift": blocks("DownBlock2D", freq_shift=1),
    "time_embedding_dim": blocks("DownBlock2D", time_embedding_dim=12),
    "class_table": blocks("DownBlock2D", num_class_embeds=5),
    "class_timestep": blocks("DownBlock2D", class_embed_type="timestep"),
    "class_timestep_learned": blocks(
        "DownBlock2D", class_embed_type="timestep", time_embedding_type="learned", num_train_timesteps=10
    ),
    "class_identity": blocks("DownBlock2D", class_embed_type="identity"),
    "scale_shift": {"resnet_time_scale_shift": "scale_shift"},
    "attn_norm_num_groups": {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 4},
    "head_dim_null": {"attention_head_dim": None},
    "head_dim_3": {"attention_head_dim": 3},
    "norm_num_groups_4": blocks("DownBlock2D", norm_num_groups=4),
    "norm_eps": blocks("DownBlock2D", norm_eps=0.05),
    "act_mish": {"act_fn": "mish"},
    "act_gelu": blocks("DownBlock2D", act_fn="gelu"),
    "act_relu": blocks("DownBlock2D", act_fn="relu"),
    "center_input_sample": blocks("DownBlock2D", center_input_sample=True),
    "layers_per_block_2": blocks("DownBlock2D", layers_per_block=2, act_fn="swish"),
    "dropout": blocks("DownBlock2D", dropout=0.3),
    "channels_2_to_1": blocks("DownBlock2D", in_channels=2, out_channels=1),
    "sample_size_4x8": blocks("DownBlock2D", sample_size=[4, 8]),
}
GRADIENTS = ["skip_down_block", "act_mish"]

# For an implementation in float32, relative to the largest magnitude (issue: 1e-4 and 1e-3).
TOLERANCES = {"output": 1e-4, "grads": 1e-3}


def times(config):
    kind = config.get("time_embedding_type", "positional")
    values = {"positional": [-310.5, 17.25], "fourier": [2.5, 0.3125], "learned": [3.0, 9.0]}[kind]
    return torch.tensor(values, dtype=torch.float64)


def labels(config, model, generator):
    """The labels, and what the model takes: whole numbers, or the embedding itself."""
    kind = config.get("class_embed_type")
    if kind == "identity":
        return unet.normal(generator, 2, model.time_embedding.linear_2.out_features)
    if kind == "timestep" or "num_class_embeds" in config:
        return torch.tensor([4, 1])
    return None


def record(name, flags, seed):
    config = BASE | flags
    generator = torch.Generator().manual_seed(seed)
    model = UNet2DModel(**config).eval()
    unet.draw_weights(model, generator)
    for parameter in model.parameters():
        parameter.data.copy_(parameter.data.half().float())
    weights = {key: value.half() for key, value in model.state_dict().items()}
    model.double()

    kind = config.get("time_embedding_type", "positional")
    if kind == "positional":
        flip, shift = config.get("flip_sin_to_cos", True), config.get("freq_shift", 0)
        model.time_proj = unet.ExactTimesteps(config["block_out_channels"][0], shift, flip)
    size = config["sample_size"]
    size = (size, size) if isinstance(size, int) else size
    sample = unet.normal(generator, 2, config.get("in_channels", 3), *size).requires_grad_()
    timestep, class_labels = times(config), labels(config, model, generator)
    given = class_labels
    if config.get("class_embed_type") == "timestep" and kind != "learned":
        given = class_labels.double()
    output = model(sample, timestep.long() if kind == "learned" else timestep, given).sample

    tensors = {f"weights.{key}": value for key, value in weights.items()}
    tensors |= {"sample": sample.float(), "timestep": timestep.float(), "output": output.float()}
    if class_labels is not None:
        tensors["class_labels"] = class_labels.float() if class_labels.dim() == 2 else class_labels
    if name in GRADIENTS:
        cotangent = unet.normal(generator, *output.shape)
        trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
        of_sample, *grads = torch.autograd.grad(output, [sample, *trained.values()], cotangent)
        tensors |= {"grad_output": cotangent.float(), "grad_sample": of_sample.float()}
        tensors |= {f"grads.{key}": unet.drop_dust(g).float() for key, g in zip(trained, grads)}
    golden.save(
        HERE / f"{name}.safetensors",
        tensors,
        __file__,
        config=config,
        seed=str(seed),
        recipe_sha256=golden.sha256(unet.__file__),
        versions=golden.versions("torch", "diffusers", "safetensors"),
        tolerances=TOLERANCES,
    )


torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
for index, (name, flags) in enumerate(CASES.items()):
    record(name, flags, 700 + index)
