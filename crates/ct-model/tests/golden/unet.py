"""Record one case of diffusers' UNet2DModel: forward, gradients, and forward-mode derivative.

Every number is computed in float64 from inputs and weights that float32 holds
exactly, then stored as float32, so a case is right to the last bit or two.
The sinusoidal time embedding is one exception in diffusers: it stays in float32
whatever the model's type, and its error (about 1e-4 at timestep 1000) would
be the largest in the file. `ExactTimesteps` replaces it by the same formula in
float64; metadata `float32_error` says how far the untouched float32 model is.
"""

import math
import pathlib

import torch
from diffusers import UNet2DModel
from torch.nn.attention import SDPBackend, sdpa_kernel

import golden

# For an implementation in float32, relative to the largest magnitude in the compared tensor
# (for `grads`: in all gradients together, since that of a key's bias is zero).
TOLERANCES = {"output": 2e-5, "grads": 1e-4, "jvp_output": 1e-4, "trace": 2e-5}


class ExactTimesteps(torch.nn.Module):
    """sin and cos of t * 10000^(-k / (half - freq_shift)), k = 0 .. half-1, in the type of t."""

    def __init__(self, dim, freq_shift, flip_sin_to_cos):
        super().__init__()
        self.half, self.shift, self.flip = dim // 2, freq_shift, flip_sin_to_cos

    def forward(self, t):
        k = torch.arange(self.half, dtype=t.dtype)
        angle = t[:, None] * torch.exp(-math.log(10000.0) * k / (self.half - self.shift))
        pair = (angle.cos(), angle.sin()) if self.flip else (angle.sin(), angle.cos())
        return torch.cat(pair, dim=-1)


def normal(generator, *shape):
    """Unit normal numbers that float32 holds exactly, as float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64).float().double()


def draw_weights(model, generator):
    """Redraw every parameter so that none is zero, one, or alike: a swapped pair must show."""
    for name, parameter in model.named_parameters():
        noise = normal(generator, *parameter.shape)
        if "norm" in name and name.endswith("weight"):
            value = 1.0 + 0.3 * noise
        elif name.endswith("bias"):
            value = 0.2 * noise
        elif name.startswith("class_embedding") or name.startswith("time_proj"):
            value = noise
        else:
            value = noise / math.sqrt(parameter[0].numel())
        parameter.data.copy_(value.float())


def drop_dust(grad):
    """Exact zeros for what is zero but for rounding: softmax does not see the bias of its keys."""
    return torch.where(grad.abs() < 1e-12, 0.0, grad)


def add_traces(model, trace):
    """Keep the output of each large part of the network under its name."""
    parts = {"time_proj": model.time_proj, "time_embedding": model.time_embedding, "conv_in": model.conv_in}
    parts |= {f"down_blocks.{i}": block for i, block in enumerate(model.down_blocks)}
    parts |= {"mid_block": model.mid_block}
    parts |= {f"up_blocks.{i}": block for i, block in enumerate(model.up_blocks)}

    def keep(name):
        def hook(_module, _inputs, output):
            trace[name] = output[0] if isinstance(output, tuple) else output

        return hook

    return [part.register_forward_hook(keep(name)) for name, part in parts.items()]


def record(make, config, seed, size, timestep, class_labels=None):
    """Write `case.safetensors` beside `make`: `config` on inputs of `size` = (H, W)."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(seed)
    model = UNet2DModel(**config).eval()
    draw_weights(model, generator)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}

    batch = len(timestep)
    sample = normal(generator, batch, config["in_channels"], *size)
    timestep = torch.tensor(timestep, dtype=torch.float32).double()
    labels = None if class_labels is None else torch.tensor(class_labels)
    with torch.no_grad():
        plain = model(sample.float(), timestep.float(), labels).sample

    model.double()
    if config.get("time_embedding_type", "positional") == "positional":
        model.time_proj = ExactTimesteps(
            config["block_out_channels"][0], config.get("freq_shift", 0), config.get("flip_sin_to_cos", True)
        )
    trace = {}
    hooks = add_traces(model, trace)
    sample.requires_grad_()
    output = model(sample, timestep, labels).sample
    for hook in hooks:
        hook.remove()
    cotangent = normal(generator, *output.shape)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    grad_sample, *grads = torch.autograd.grad(output, [sample, *trained.values()], cotangent)

    tensors = {f"weights.{name}": value for name, value in weights.items()}
    tensors |= {"sample": sample, "timestep": timestep, "output": output}
    tensors |= {"grad_output": cotangent, "grad_sample": grad_sample}
    tensors |= {f"grads.{name}": drop_dust(grad) for name, grad in zip(trained, grads)}
    tensors |= {f"trace.{name}": value for name, value in trace.items()}
    tangents = (normal(generator, *sample.shape), normal(generator, batch))
    with sdpa_kernel(SDPBackend.MATH):
        _, jvp_output = torch.func.jvp(
            lambda x, t: model(x, t, labels).sample, (sample.detach(), timestep), tangents
        )
    check_jvp(model, sample.detach(), timestep, labels, tangents, jvp_output)
    tensors |= {"tangent_sample": tangents[0], "tangent_timestep": tangents[1], "jvp_output": jvp_output}
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    if labels is not None:
        tensors["class_labels"] = labels

    golden.save(
        pathlib.Path(make).with_name("case.safetensors"),
        tensors,
        make,
        config=config,
        seed=str(seed),
        recipe_sha256=golden.sha256(__file__),
        versions=golden.versions("torch", "diffusers", "safetensors"),
        tolerances=TOLERANCES,
        output_scale=f"{output.abs().max().item():.3g}",
        float32_error=f"{(plain.double() - output).abs().max().item():.1e}",
    )


def check_jvp(model, sample, timestep, labels, tangents, jvp_output):
    """The derivative must agree with a central difference, or the recording is worthless."""
    h = 1e-5
    with torch.no_grad():
        plus = model(sample + h * tangents[0], timestep + h * tangents[1], labels).sample
        minus = model(sample - h * tangents[0], timestep - h * tangents[1], labels).sample
    error = ((plus - minus) / (2 * h) - jvp_output).abs().max()
    assert error < 1e-6 * jvp_output.abs().max(), error
