"""Single operations: forward alone under inference mode (`.._fwd`), or forward and the gradients of all inputs.

Shapes and names are those of crates/ct-kernels/benches/kernels.rs.
"""

import functools

import torch
import torch.nn.functional as F

import common

CONV_SHAPES = [(64, 32, 28), (64, 64, 14), (64, 128, 7), (32, 64, 28), (32, 128, 14), (16, 128, 32), (16, 256, 16)]
HALVING_SHAPES = [(64, 32, 28), (64, 64, 14), (16, 64, 32), (16, 128, 16)]
SHORTCUT_SHAPES = [(64, 64, 32, 28), (64, 192, 64, 14), (64, 256, 128, 7), (16, 384, 128, 16)]
LINEAR_SHAPES = [(3136, 128, 128), (1024, 256, 256), (64, 512, 512)]
NORM_SHAPES = [(64, 32, 28), (32, 64, 28), (16, 128, 32)]
ATTENTION_SHAPES = [(64, 49, 4, 32), (64, 196, 4, 32), (16, 64, 4, 64), (16, 256, 4, 64)]
UPSAMPLE_SHAPES = [(64, 64, 14), (64, 128, 7)]
CONCAT_SHAPES = [(64, 64, 32, 28), (64, 128, 64, 14)]
PARAMETERS = (40, 250_000)


def conv(stride, padding, x, weight, bias):
    return F.conv2d(x, weight, bias, stride=stride, padding=padding)


def group_norm_silu(x, gamma, beta):
    return F.silu(F.group_norm(x, 32, gamma, beta))


def group_norm_modulated_silu(x, gamma, beta, scale, shift):
    # As ResnetBlock2D of diffusers writes it.
    x = F.group_norm(x, 32, gamma, beta)
    return F.silu(x * (1 + scale[:, :, None, None]) + shift[:, :, None, None])


def attention(heads, q, k, v):
    """q, k, v: [B, N, heads dim], as the attention processor of diffusers has them between its projections."""
    split = [t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q, k, v)]
    return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


def upsample(x):
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def concat(a, b):
    return torch.cat([a, b], dim=1)


def operations():
    """Name, case, function, shapes of its inputs."""
    for b, c, h in CONV_SHAPES:
        shapes = [(b, c, h, h), (c, c, 3, 3), (c,)]
        yield "conv3x3", f"b{b}_c{c}_h{h}", functools.partial(conv, 1, 1), shapes
    for b, c, h in HALVING_SHAPES:
        shapes = [(b, c, h, h), (c, c, 3, 3), (c,)]
        yield "conv3x3_stride2", f"b{b}_c{c}_h{h}", functools.partial(conv, 2, 1), shapes
    for b, c, o, h in SHORTCUT_SHAPES:
        shapes = [(b, c, h, h), (o, c, 1, 1), (o,)]
        yield "conv1x1", f"b{b}_c{c}_o{o}_h{h}", functools.partial(conv, 1, 0), shapes
    for n, c, o in LINEAR_SHAPES:
        yield "linear", f"n{n}_c{c}_o{o}", F.linear, [(n, c), (o, c), (o,)]
    for b, c, h in NORM_SHAPES:
        shapes = [(b, c, h, h), (c,), (c,)]
        yield "group_norm_silu", f"b{b}_c{c}_h{h}", group_norm_silu, shapes
        shapes += [(b, c), (b, c)]
        yield "group_norm_modulated_silu", f"b{b}_c{c}_h{h}", group_norm_modulated_silu, shapes
    for b, n, h, d in ATTENTION_SHAPES:
        shapes = [(b, n, h * d)] * 3
        yield "attention", f"b{b}_n{n}_h{h}_d{d}", functools.partial(attention, h), shapes
    for b, c, h in UPSAMPLE_SHAPES:
        yield "upsample", f"b{b}_c{c}_h{h}", upsample, [(b, c, h, h)]
    for b, c0, c1, h in CONCAT_SHAPES:
        yield "concat", f"b{b}_c{c0}_c{c1}_h{h}", concat, [(b, c0, h, h), (b, c1, h, h)]


def make_tensors(shapes, memory_format):
    layout = common.FORMATS[memory_format]
    return [torch.randn(shape).to(memory_format=layout) if len(shape) == 4 else torch.randn(shape) for shape in shapes]


def make_forward(function, shapes, memory_format):
    inputs = make_tensors(shapes, memory_format)

    def forward():
        with torch.inference_mode():
            function(*inputs)

    return forward


def make_both(function, shapes, memory_format):
    leaves = [t.requires_grad_() for t in make_tensors(shapes, memory_format)]
    cotangent = torch.randn_like(function(*leaves))

    def both():
        function(*leaves).backward(cotangent)
        for leaf in leaves:
            leaf.grad = None

    return both


def make_optimizer(make, _memory_format):
    count, size = PARAMETERS
    parameters = [torch.nn.Parameter(torch.randn(size)) for _ in range(count)]
    for p in parameters:
        p.grad = torch.randn_like(p)
    averages = [torch.randn(size) for _ in range(count)]
    optimizer = make(parameters)

    def update():
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 0.001)

    return update


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-3, fused=True)


def radam(parameters):
    # It has no fused form.
    return torch.optim.RAdam(parameters, lr=1e-3, foreach=True)


def questions():
    """Name of the measurement, and what makes the timed function for a memory format."""
    result = {}
    for name, case, function, shapes in operations():
        result[f"cpu_f32/{name}_fwd/{case}"] = functools.partial(make_forward, function, shapes)
        result[f"cpu_f32/{name}/{case}"] = functools.partial(make_both, function, shapes)
    result["cpu_f32/adamw_ema/p10m"] = functools.partial(make_optimizer, adamw)
    result["cpu_f32/radam_ema/p10m"] = functools.partial(make_optimizer, radam)
    return result
