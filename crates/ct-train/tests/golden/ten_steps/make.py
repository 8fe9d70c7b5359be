"""Ten optimizer steps of each recipe on a tiny network, in float64, by the formulas of `recipes.py`.

RAdam (lr 1e-3, betas 0.9 and 0.999, eps 1e-8, no decay) from one start; it changes its rule at step 6.
All recipes see the same samples and noise, and each its own noise levels, which are recorded and not drawn again:

    x0, z: [10, B, D]                               samples and unit normal noise of each step
    student.*, teacher.*                            the start, and the frozen teacher of distillation
    CASE.t, CASE.r, CASE.weight: [10, B]            pairs; r = 0 where the target is x0 itself
    CASE.t: [10, B], CASE.tangent_warmup: [10]      angles of the TrigFlow recipes and the factor r of the tangent
    CASE.losses: [10]                               before the update of the step
    CASE.params.*                                   after ten updates
    CASE.target.*                                   the averaged target after ten updates, where `target` is `ema`

Metadata `cases` holds for each its target (`ema` with decay `mu`, updated after the student; `student` is the student
itself without a gradient; `none` for the denoiser), its distance with c, and whether a teacher is used.
"""

import math
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import recipes
from recipes import golden

SEED, STEPS, MU = 203, 10, 0.95
RADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
P_MEAN, P_STD = -1.1, 2.0
TRIG_MEAN, TRIG_STD = -1.0, 1.4
# The tangent is warmed up in the first steps: min(1, k / 5).
TANGENT_WARMUP_STEPS = 5

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(SEED)
SHAPE = (STEPS, recipes.BATCH)
student, teacher = (recipes.draw_weights(generator) for _ in range(2))
x0 = recipes.SIGMA_DATA * recipes.normal(generator, *SHAPE, recipes.DIM)
z = recipes.normal(generator, *SHAPE, recipes.DIM)


def grid_levels(n_of_step):
    """Pairs of a grid that may grow, each index as likely."""
    pairs = [recipes.from_grid(n, torch.randint(1, n, (recipes.BATCH,), generator=generator)) for n in n_of_step]
    t, r = (torch.stack(levels) for levels in zip(*pairs))
    return t, r


def lognormal(mean, std):
    return (mean + std * recipes.normal(generator, *SHAPE)).exp()


def levels():
    """CASE -> (t, r, weight)."""
    one = torch.ones(SHAPE, dtype=torch.float64)
    ct, cd = grid_levels([18] * STEPS), grid_levels([18] * STEPS)
    ict = grid_levels([11] * 5 + [21] * 5)
    t = lognormal(P_MEAN, P_STD)
    # Some samples of the first steps have r = 0, none of the last.
    power = torch.tensor([2.0] * 5 + [256.0] * 5, dtype=torch.float64)[:, None]
    r = recipes.ect_ratio(t, power)
    sigma, sd = lognormal(-1.2, 1.2), recipes.SIGMA_DATA
    edm_weight = (sigma**2 + sd**2) / (sigma * sd) ** 2
    return {
        "ct": (*ct, one),
        "cd": (*cd, one),
        "ict": (*ict, 1 / (ict[0] - ict[1])),
        "ect": (t, r, 1 / (t - r)),
        "edm": (sigma, torch.zeros(SHAPE, dtype=torch.float64), edm_weight),
    }


pairs = levels()
angles = {name: (lognormal(TRIG_MEAN, TRIG_STD) / recipes.SIGMA_DATA).atan() for name in ("sct", "scd")}
warmup = torch.tensor([min(1.0, k / TANGENT_WARMUP_STEPS) for k in range(STEPS)], dtype=torch.float64)
TRIG = {"tangent_c": recipes.TANGENT_C, "tangent_warmup_steps": TANGENT_WARMUP_STEPS, "target": "student"}
CASES = {
    "ct": {"distance": "squared_l2", "c": 0.0, "target": "ema", "mu": MU, "teacher": False},
    "cd": {"distance": "squared_l2", "c": 0.0, "target": "ema", "mu": MU, "teacher": True},
    "ict": {"distance": "huber", "c": recipes.HUBER_ICT, "target": "student", "teacher": False},
    "ect": {"distance": "huber", "c": recipes.HUBER_ECT, "target": "student", "teacher": False},
    "edm": {"distance": "squared_l2", "c": 0.0, "target": "none", "teacher": False},
    "sct": {**TRIG, "levels": "sct", "normalized_by": "l2", "teacher": False},
    "sct_rms": {**TRIG, "levels": "sct", "normalized_by": "rms", "teacher": False},
    "scd": {**TRIG, "levels": "scd", "normalized_by": "l2", "teacher": True},
}


def step_of(name, facts, k, weights, target, dtype):
    """The outputs of step k, gradients among them."""
    data = (x0[k].to(dtype), z[k].to(dtype))
    frozen = {key: value.to(dtype) for key, value in teacher.items()} if facts["teacher"] else None
    if "normalized_by" in facts:
        angle = angles[facts["levels"]][k].to(dtype)
        return recipes.trig_step(weights, frozen, *data, angle, warmup[k].item(), facts["normalized_by"])
    t, r, weight = (values[k].to(dtype) for values in pairs[name])
    form = recipes.denoiser if facts["target"] == "none" else recipes.consistency
    return recipes.pair_step(weights, target, *data, t, r, facts["distance"], weight, facts["c"], frozen, form)


def run(name, dtype):
    """The losses, the parameters at the end, and the target at the end."""
    facts = CASES[name]
    parameters = {key: torch.nn.Parameter(value.to(dtype, copy=True)) for key, value in student.items()}
    target = {key: value.to(dtype, copy=True) for key, value in student.items()}
    optimizer = torch.optim.RAdam(parameters.values(), foreach=False, **RADAM)
    losses = []
    for k in range(STEPS):
        weights = {key: parameter.detach() for key, parameter in parameters.items()}
        outputs = step_of(name, facts, k, weights, target if facts["target"] == "ema" else weights, dtype)
        losses.append(outputs["loss"].detach())
        for key, parameter in parameters.items():
            parameter.grad = outputs[f"grads.{key}"]
        optimizer.step()
        for key, parameter in parameters.items():
            target[key] = MU * target[key] + (1 - MU) * parameter.detach()
    return torch.stack(losses), {key: parameter.detach() for key, parameter in parameters.items()}, target


def off(got, expected):
    """The largest difference, relative to the largest magnitude."""
    return ((got.double() - expected).abs().max() / expected.abs().max()).item()


results = {"x0": x0, "z": z}
for owner, weights in {"student": student, "teacher": teacher}.items():
    results |= {f"{owner}.{key}": value for key, value in weights.items()}
for name, (t, r, weight) in pairs.items():
    results |= {f"{name}.t": t, f"{name}.r": r, f"{name}.weight": weight}
for name, facts in CASES.items():
    if "normalized_by" in facts:
        results |= {f"{name}.t": angles[facts["levels"]], f"{name}.tangent_warmup": warmup}
    losses, parameters, target = run(name, torch.float64)
    single = run(name, torch.float32)
    moved = max((parameters[key] - student[key]).abs().max().item() for key in parameters)
    params_off = max(off(single[1][key], parameters[key]) for key in parameters)
    losses_off = ((single[0].double() - losses).abs() / losses.abs()).max().item()
    print(f"{name}: loss {losses[0]:.4g} to {losses[-1]:.4g}, parameters moved by {moved:.1e};", end=" ")
    print(f"float32 is off by {losses_off:.1e} in losses, {params_off:.1e} in parameters")
    results |= {f"{name}.losses": losses} | {f"{name}.params.{key}": value for key, value in parameters.items()}
    if facts["target"] == "ema":
        results |= {f"{name}.target.{key}": value for key, value in target.items()}

golden.save(
    HERE / "case.safetensors",
    results,
    __file__,
    cases=CASES,
    constants=recipes.constants(),
    optimizer=RADAM,
    recipes_sha256=golden.sha256(recipes.__file__),
    seed=str(SEED),
    versions=golden.versions("torch", "safetensors"),
    # Losses relative to themselves, parameters relative to the largest magnitude of the tensor. The float32 ones are
    # five times what this script's own float32 run is off by, which it prints.
    tolerances={"f64": 1e-10, "f32_losses": 2e-4, "f32_params": 1e-6},
)
