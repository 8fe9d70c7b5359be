"""The recipes' formulas in float64, from the papers, on a tiny network; what the scripts below this folder share.

Network: F(u, s) = W2 silu(W1 [u; s] + b1) + b2, with u: [B, D] and s: [B].
Consistency form: f(x, sigma) = c_skip x + c_out F(c_in x, c_noise / 1000), with c_noise = 250 ln sigma,
    c_skip = sd^2 / ((sigma - sigma_min)^2 + sd^2), c_out = sd (sigma - sigma_min) / sqrt(sigma^2 + sd^2),
    c_in = 1 / sqrt(sigma^2 + sd^2), so that f(x, sigma_min) = x (Song et al. 2023, appendix C).
Denoiser form, for the teacher D of distillation: the same with sigma_min = 0 (Karras et al. 2022, table 1).
TrigFlow form: F(x / sd, t), fed t itself, not t / 1000 (Lu & Song 2024, section 3).

Pairs: x_hi = x0 + t z, x_lo = x0 + r z with one z; where r = 0 the target is x0 itself.
Loss of a sample: weight * distance, the distance over the whole sample; loss of the batch: the mean.
    squared_l2 = |d|^2, l2 = |d|, l1 = sum |d_i|, huber = sqrt(|d|^2 + c^2) - c.
"""

import math
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "ct-model" / "tests" / "golden"))

import golden

BATCH, DIM, HIDDEN = 6, 5, 16
SIGMA_MIN, SIGMA_MAX, SIGMA_DATA, RHO = 0.002, 80.0, 0.5, 7.0
HUBER_ICT = 0.00054 * math.sqrt(DIM)
HUBER_ECT = 0.06
TANGENT_WARMUP, TANGENT_C = 0.3, 0.1


def network(weights, u, s):
    hidden = torch.cat([u, s[:, None]], dim=1) @ weights["W1"].T + weights["b1"]
    return torch.nn.functional.silu(hidden) @ weights["W2"].T + weights["b2"]


def skip_form(weights, x, sigma, sigma_min):
    root = (sigma**2 + SIGMA_DATA**2).sqrt()
    c_skip = SIGMA_DATA**2 / ((sigma - sigma_min) ** 2 + SIGMA_DATA**2)
    c_out = SIGMA_DATA * (sigma - sigma_min) / root
    c_noise = 250 * sigma.log()
    return c_skip[:, None] * x + c_out[:, None] * network(weights, x / root[:, None], c_noise / 1000)


def consistency(weights, x, sigma):
    return skip_form(weights, x, sigma, SIGMA_MIN)


def denoiser(weights, x, sigma):
    return skip_form(weights, x, sigma, 0.0)


def karras_grid(n):
    """sigma_1 .. sigma_n, ascending."""
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    return torch.tensor([(low + i / (n - 1) * (high - low)) ** RHO for i in range(n)], dtype=torch.float64)


def heun(weights, x, t, r):
    """One second-order step of dx/dsigma = (x - D(x, sigma)) / sigma from t to r."""
    t_, r_ = t[:, None], r[:, None]
    slope = (x - denoiser(weights, x, t)) / t_
    euler = x + (r_ - t_) * slope
    slope_end = (euler - denoiser(weights, euler, r)) / r_
    return x + (r_ - t_) * (slope + slope_end) / 2


def distances(difference, c):
    squared = (difference**2).sum(dim=1)
    return {
        "squared_l2": squared,
        "l2": squared.sqrt(),
        "l1": difference.abs().sum(dim=1),
        "huber": (squared + c**2).sqrt() - c,
    }


def normal(generator, *shape):
    """Unit normal numbers that float32 holds exactly, as float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64).float().double()


def draw_weights(generator, dim=DIM):
    return {
        "W1": normal(generator, HIDDEN, dim + 1) / 2,
        "b1": normal(generator, HIDDEN) / 2,
        "W2": normal(generator, dim, HIDDEN) / 4,
        "b2": normal(generator, dim) / 4,
    }


def pair_step(student, target_weights, x0, z, t, r, distance, weight, c, teacher=None, form=consistency):
    """A step of consistency training, or of distillation where a `teacher` denoiser is given.

    With `form=denoiser` and r = 0 it is a step of plain diffusion training.
    """
    x_hi = x0 + t[:, None] * z
    x_lo = x0 + r[:, None] * z if teacher is None else heun(teacher, x_hi, t, r)
    positive = r > 0
    with torch.no_grad():
        f_lo = consistency(target_weights, x_lo, torch.where(positive, r, SIGMA_MIN))
        target = torch.where(positive[:, None], f_lo, x0)
    leaves = {name: value.clone().requires_grad_() for name, value in student.items()}
    f_hi = form(leaves, x_hi, t)
    each = distances(f_hi - target, c)
    loss = (weight * each[distance]).mean()
    grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))))
    out = {"x0": x0, "z": z, "t": t, "r": r, "x_hi": x_hi, "x_lo": x_lo, "f_hi": f_hi, "target": target}
    out |= {f"distance.{name}": value for name, value in each.items()}
    out |= {"weight": weight, "loss": loss} | {f"grads.{name}": value for name, value in grads.items()}
    return out


def trig_step(student, teacher, x0, z, t, warmup=TANGENT_WARMUP, normalized_by="l2"):
    """A step of sCT, or of sCD where a `teacher` gives the velocity (Lu & Song 2024, algorithm 1)."""
    cos, sin = t.cos()[:, None], t.sin()[:, None]
    noise = SIGMA_DATA * z
    x_t = cos * x0 + sin * noise
    if teacher is None:
        velocity = cos * noise - sin * x0
    else:
        velocity = SIGMA_DATA * network(teacher, x_t / SIGMA_DATA, t)
    # The tangent is scaled by cos t sin t before the derivative is taken, and never again after it.
    tangents = (cos * sin * velocity / SIGMA_DATA, (cos * sin)[:, 0])
    f_minus, f_dot = torch.func.jvp(lambda u, s: network(student, u, s), (x_t / SIGMA_DATA, t), tangents)
    g = -(cos**2) * (SIGMA_DATA * f_minus - velocity) - warmup * (cos * sin * x_t + SIGMA_DATA * f_dot)
    norm = (g**2).sum(dim=1, keepdim=True).sqrt()
    g_l2 = g / (norm + TANGENT_C)
    g_rms = g / (norm / math.sqrt(DIM) + TANGENT_C)
    normalized = {"l2": g_l2, "rms": g_rms}[normalized_by]
    leaves = {name: value.clone().requires_grad_() for name, value in student.items()}
    f = network(leaves, x_t / SIGMA_DATA, t)
    loss = ((f - f_minus - normalized) ** 2).sum(dim=1).mean() / DIM
    grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))))
    out = {"x0": x0, "z": z, "t": t, "x_t": x_t, "velocity": velocity, "raw": f_minus, "raw_tangent": f_dot}
    out |= {"denoised": cos * x_t - sin * SIGMA_DATA * f_minus}
    out |= {"g": g, "g_l2": g_l2, "g_rms": g_rms, "loss": loss}
    return out | {f"grads.{name}": value for name, value in grads.items()}


def ect_ratio(t, power):
    """r = t max(0, 1 - n(t) / q^a) with n(t) = 1 + 8 sigmoid(-t); `power` is q^a."""
    return t * (1 - (1 + 8 * torch.sigmoid(-t)) / power).clamp(min=0)


def from_grid(n, indices):
    """The pairs (sigma_{i+1}, sigma_i) for 1-based indices i."""
    grid = karras_grid(n)
    i = torch.as_tensor(indices)
    return grid[i], grid[i - 1]


def constants():
    return {"sigma_min": SIGMA_MIN, "sigma_max": SIGMA_MAX, "sigma_data": SIGMA_DATA, "rho": RHO}
