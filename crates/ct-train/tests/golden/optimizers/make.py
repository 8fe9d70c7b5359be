"""Twelve steps of torch.optim's RAdam and AdamW on two tensors with recorded gradients.

RAdam changes its rule at step 6, where its variance estimate becomes tractable.
Each case is recorded twice: in float32, and in float64 from the same float32 starting values and gradients.
Keys: `initial.{a,b}`; `grads.{a,b}` with the step as first dimension; `CASE.{f32,f64}.{a,b}`, the parameters
after each step. What each case is called with is in the metadata, under `cases`.
"""

import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "ct-model" / "tests" / "golden"))

import golden

SEED, STEPS = 201, 12
SHAPES = {"a": (37,), "b": (5, 7)}
COMMON = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
CASES = {
    "radam": {"weight_decay": 0.0},
    # The decay joins the gradient, before the moments.
    "radam_l2": {"weight_decay": 0.01},
    # The decay scales the parameter, apart from the moments.
    "radam_decoupled": {"weight_decay": 0.01, "decoupled_weight_decay": True},
    "adamw": {"weight_decay": 0.01},
    "adamw_no_decay": {"weight_decay": 0.0},
}


def run(name, dtype, initial, grads):
    """The parameters after each step: {tensor name: [STEPS, ..]}."""
    parameters = {key: torch.nn.Parameter(value.to(dtype, copy=True)) for key, value in initial.items()}
    kind = torch.optim.RAdam if name.startswith("radam") else torch.optim.AdamW
    optimizer = kind(parameters.values(), foreach=False, **COMMON, **CASES[name])
    after = {key: [] for key in parameters}
    for step in range(STEPS):
        for key, parameter in parameters.items():
            parameter.grad = grads[key][step].to(dtype)
        optimizer.step()
        for key, parameter in parameters.items():
            after[key].append(parameter.detach().clone())
    return {key: torch.stack(values) for key, values in after.items()}


torch.set_num_threads(1)
generator = torch.Generator().manual_seed(SEED)
initial = {key: torch.randn(shape, generator=generator) for key, shape in SHAPES.items()}
# Element sizes from 1e-6 to 1, so that eps matters for some and not for others.
grads = {
    key: torch.randn(STEPS, *shape, generator=generator) * 10 ** (-6 * torch.rand(shape, generator=generator))
    for key, shape in SHAPES.items()
}

tensors = {f"initial.{key}": value for key, value in initial.items()}
tensors |= {f"grads.{key}": value for key, value in grads.items()}
for name in CASES:
    for label, dtype in {"f32": torch.float32, "f64": torch.float64}.items():
        tensors |= {f"{name}.{label}.{key}": value for key, value in run(name, dtype, initial, grads).items()}

golden.save(
    HERE / "case.safetensors",
    tensors,
    __file__,
    cases={name: {**COMMON, **options} for name, options in CASES.items()},
    seed=str(SEED),
    versions=golden.versions("torch", "safetensors"),
    # Absolute, on parameters of size up to 3: twelve roundings of them in float32.
    tolerances={"f32": 3e-6, "f64": 1e-12},
)
