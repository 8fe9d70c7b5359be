"""One training step on a tiny network by the peers' own code, in float64, where it agrees with the papers.

    python make.py --openai DIR --kinyugo DIR

DIR are checkouts of openai/consistency_models (commit e32b69e) and Kinyugo/consistency_models (commit 2e6618d).
Their functions are imported and run; nothing of them is copied. What had to be aligned:

- peer_cd, peer_ct_openai, peer_ct_l1_openai: `KarrasDenoiser.consistency_losses` with uniform weights. Its distance is
  the mean over the values of a sample, the recorded `losses` are D times that: |d|^2 or sum |d_i|. It counts the grid
  from the top, and the teacher has scalings without the shift by sigma_min. Its modules for LPIPS, images and MPI are
  replaced by empty ones, as none of them is reached.
- peer_ct: `ConsistencyTraining`. The library feeds the network x and sigma as they are, so the network it gets here
  scales them itself: c_in x and c_noise. It leaves the distance to the user; the recorded `losses` are |d|^2.
- peer_ict: `ImprovedConsistencyTraining` and `pseudo_huber_loss`, for samples of ONE value (D = 1, with weights
  `peer_ict.student.*`): the library's distance is element-wise, so it is the paper's only there.
- peer_ict_wide: the same at D = 5 without a loss; its pairs, weights and estimates are the paper's.

Keys, as in `losses`: CASE.{x0, z, t, r, weight, losses, loss, grads.*}, f_hi and target where the peer tells them;
student.*, ema.*, teacher.*. Each case is checked here against `recipes.py` to 1e-10 before it is written.
"""

import argparse
import math
import pathlib
import sys
import types

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import recipes
from recipes import golden

SEED = 204
SIGMAS = {"sigma_min": recipes.SIGMA_MIN, "sigma_max": recipes.SIGMA_MAX, "sigma_data": recipes.SIGMA_DATA}
NUM_SCALES = 18


def import_peers():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openai", type=pathlib.Path, required=True)
    parser.add_argument("--kinyugo", type=pathlib.Path, required=True)
    args = parser.parse_args()
    for name, attribute in {"piq": "LPIPS", "torchvision": "", "torchvision.transforms": "RandomCrop"}.items():
        sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[name], attribute or "transforms", None)
    sys.modules["cm.dist_util"] = types.ModuleType("cm.dist_util")
    sys.path[:0] = [str(args.openai), str(args.kinyugo)]
    import cm.karras_diffusion
    import consistency_models

    return cm.karras_diffusion, consistency_models


def leaves_of(weights):
    return {name: value.clone().requires_grad_() for name, value in weights.items()}


def drawn(draw):
    """What `draw` gives, and the generator as it was before."""
    state = torch.get_rng_state()
    value = draw()
    torch.set_rng_state(state)
    return value


def check(name, outputs, facts, weights, target, teacher=None):
    """Compare with our own formulas."""
    pair = [outputs[key] for key in ("x0", "z", "t", "r")]
    ours = recipes.pair_step(weights, target, *pair, facts["distance"], outputs["weight"], facts["c"], teacher)
    ours["losses"] = outputs["weight"] * ours[f"distance.{facts['distance']}"]
    for key, value in outputs.items():
        error = ((value - ours[key]).abs().max() / ours[key].abs().max()).item()
        assert error < 1e-10, f"{name}.{key} is off by {error:.1e}"


def with_gradients(outputs, losses, leaves):
    loss = losses.mean()
    grads = torch.autograd.grad(loss, list(leaves.values()))
    return outputs | {"losses": losses, "loss": loss} | {f"grads.{key}": g for key, g in zip(leaves, grads)}


def openai_step(openai, norm, x0, z, teacher=None):
    leaves = leaves_of(student)
    network = lambda weights: lambda u, c_noise: recipes.network(weights, u, c_noise / 1000)
    diffusion = openai.KarrasDenoiser(**SIGMAS, rho=recipes.RHO, weight_schedule="uniform", distillation=True, loss_norm=norm)
    teacher_diffusion = openai.KarrasDenoiser(**SIGMAS, rho=recipes.RHO, distillation=False, loss_norm=norm)
    indices = drawn(lambda: torch.randint(0, NUM_SCALES - 1, (len(x0),)))
    terms = diffusion.consistency_losses(
        network(leaves),
        x0,
        NUM_SCALES,
        target_model=network(ema),
        teacher_model=network(teacher) if teacher else None,
        teacher_diffusion=teacher_diffusion,
        noise=z,
    )
    t, r = recipes.from_grid(NUM_SCALES, NUM_SCALES - 1 - indices)
    outputs = {"x0": x0, "z": z, "t": t, "r": r, "weight": torch.ones(len(x0))}
    return with_gradients(outputs, x0.shape[1] * terms["loss"], leaves)


def scaled(weights):
    """A network with the interface of Kinyugo's library that is fed c_in x and c_noise."""
    c_in = lambda sigma: 1 / (sigma**2 + recipes.SIGMA_DATA**2).sqrt()
    return lambda x, sigma: recipes.network(weights, c_in(sigma)[:, None] * x, 0.25 * sigma.log())


def kinyugo_step(peer, improved, student, target, x0, step, total):
    """x0, noise, levels, weights and estimates of a step; the library draws noise and levels itself."""
    kind = peer.ImprovedConsistencyTraining if improved else peer.ConsistencyTraining
    training = kind(**SIGMAS, rho=recipes.RHO)
    leaves = leaves_of(student)

    def draws():
        z = torch.randn_like(x0)
        if improved:
            n = int(peer.consistency_models.improved_timesteps_schedule(step, total))
            grid = recipes.karras_grid(n)
            return z, n, peer.consistency_models.lognormal_timestep_distribution(len(x0), grid)
        n = peer.consistency_models.timesteps_schedule(step, total)
        return z, n, torch.randint(0, n - 1, (len(x0),))

    z, n, indices = drawn(draws)
    networks = [scaled(leaves)] if improved else [scaled(leaves), scaled(target)]
    output = training(*networks, x0, step, total)
    assert output.num_timesteps == n
    t, r = recipes.from_grid(n, indices + 1)
    weight = output.loss_weights[:, 0] if improved else torch.ones(len(x0))
    outputs = {"x0": x0, "z": z, "t": t, "r": r, "weight": weight, "f_hi": output.predicted, "target": output.target}
    return outputs, output, leaves, n


def samples(dim=recipes.DIM):
    return recipes.SIGMA_DATA * recipes.normal(generator, recipes.BATCH, dim)


torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
openai, kinyugo = import_peers()
generator = torch.Generator().manual_seed(SEED)
torch.manual_seed(SEED)
student, ema, teacher = (recipes.draw_weights(generator) for _ in range(3))
narrow = recipes.draw_weights(generator, 1)
results, cases = {}, {}


def add(name, outputs, weights, target, teacher=None, **facts):
    check(name, outputs, facts, weights, target, teacher)
    results.update({f"{name}.{key}": value for key, value in outputs.items()})
    cases[name] = facts


for name, norm, distance, of_teacher in [
    ("peer_cd", "l2", "squared_l2", teacher),
    ("peer_ct_openai", "l2", "squared_l2", None),
    ("peer_ct_l1_openai", "l1", "l1", None),
]:
    outputs = openai_step(openai, norm, samples(), recipes.normal(generator, recipes.BATCH, recipes.DIM), of_teacher)
    add(name, outputs, student, ema, of_teacher, distance=distance, c=0.0, num_sigmas=NUM_SCALES)

outputs, output, leaves, n = kinyugo_step(kinyugo, False, student, ema, samples(), 10, 1000)
outputs = with_gradients(outputs, ((output.predicted - output.target) ** 2).sum(dim=1), leaves)
add("peer_ct", outputs, student, ema, distance="squared_l2", c=0.0, num_sigmas=n, step=10, steps=1000)

outputs, output, leaves, n = kinyugo_step(kinyugo, True, narrow, None, samples(1), 200, 1000)
losses = kinyugo.pseudo_huber_loss(output.predicted, output.target) * output.loss_weights
outputs = with_gradients(outputs, losses[:, 0], leaves)
facts = {"distance": "huber", "num_sigmas": n, "step": 200, "steps": 1000}
add("peer_ict", outputs, narrow, narrow, c=0.00054, **facts)

outputs, _, _, n = kinyugo_step(kinyugo, True, student, None, samples(), 200, 1000)
add("peer_ict_wide", outputs, student, student, c=0.00054 * math.sqrt(recipes.DIM), **facts)

for owner, weights in {"student": student, "ema": ema, "teacher": teacher, "peer_ict.student": narrow}.items():
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
    commits={"openai": "e32b69e", "kinyugo": "2e6618d"},
    # As in `losses`: relative to the largest magnitude in the compared tensor.
    tolerances={"f64": 1e-10, "f32_estimates": 2e-6, "f32_differences": 2e-4},
)
