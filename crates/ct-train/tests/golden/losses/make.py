"""One training step of each recipe on a tiny network, in float64, by the formulas of `recipes.py`.

Every case records all four distances, and its loss and gradients by the one that metadata `cases` names.
"""

import math
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import recipes
from recipes import golden

SEED = 202

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(SEED)
student, ema, teacher = (recipes.draw_weights(generator) for _ in range(3))


def batch():
    shape = (recipes.BATCH, recipes.DIM)
    return recipes.SIGMA_DATA * recipes.normal(generator, *shape), recipes.normal(generator, *shape)


one = torch.ones(recipes.BATCH, dtype=torch.float64)
results, cases = {}, {}


def add(name, outputs, **facts):
    results.update({f"{name}.{key}": value for key, value in outputs.items()})
    cases[name] = facts


# CT: the target is the EMA; index 1 has r = sigma_min, where f is the identity.
t, r = recipes.from_grid(18, [1, 4, 8, 11, 14, 17])
for name, distance in {"ct_l2": "squared_l2", "ct_l1": "l1"}.items():
    add(name, recipes.pair_step(student, ema, *batch(), t, r, distance, one, 0.0), distance=distance, c=0.0)

# CD: as CT, with x_lo from a Heun step of the teacher.
outputs = recipes.pair_step(student, ema, *batch(), t, r, "squared_l2", one, 0.0, teacher)
add("cd_l2", outputs, distance="squared_l2", c=0.0)

# iCT: the target is the student itself, pseudo-Huber, weight 1 / (t - r).
t, r = recipes.from_grid(21, [1, 3, 7, 10, 13, 20])
outputs = recipes.pair_step(student, student, *batch(), t, r, "huber", 1 / (t - r), recipes.HUBER_ICT)
add("ict", outputs, distance="huber", c=recipes.HUBER_ICT)

# ECT: t from any distribution; at q^a = 2 the small t have r = 0, at q^a = 256 none has.
t = torch.tensor([0.02, 0.3, 0.9, 1.5, 3.0, 40.0], dtype=torch.float64)
for name, power, distance, c in [
    ("ect_first_stage", 2, "l2", 0.0),
    ("ect_last_stage", 256, "l2", 0.0),
    ("ect_huber", 256, "huber", recipes.HUBER_ECT),
]:
    r = recipes.ect_ratio(t, power)
    outputs = recipes.pair_step(student, student, *batch(), t, r, distance, 1 / (t - r), c)
    add(name, outputs, distance=distance, c=c, q_power_a=power)

# Continuous time, TrigFlow; the last angle is that of sigma = 80.
t = torch.tensor([0.01, 0.2, 0.7, 1.1, 1.4, math.atan(80 / recipes.SIGMA_DATA)], dtype=torch.float64)
facts = {"tangent_warmup": recipes.TANGENT_WARMUP, "tangent_c": recipes.TANGENT_C, "normalized_by": "l2"}
add("sct", recipes.trig_step(student, None, *batch(), t), **facts)
add("scd", recipes.trig_step(student, teacher, *batch(), t), **facts)

for owner, weights in {"student": student, "ema": ema, "teacher": teacher}.items():
    results.update({f"{owner}.{name}": value for name, value in weights.items()})

golden.save(
    HERE / "case.safetensors",
    results,
    __file__,
    cases=cases,
    constants=recipes.constants(),
    recipes_sha256=golden.sha256(recipes.__file__),
    seed=str(SEED),
    versions=golden.versions("torch", "safetensors"),
    # Relative to the largest magnitude in the compared tensor. In float32, estimates at close noise levels
    # cancel: their difference, and so distances, losses and gradients, keeps fewer digits than they do.
    tolerances={"f64": 1e-10, "f32_estimates": 2e-6, "f32_differences": 2e-4},
)
