"""Multistep sampling by diffusers' CMStochasticIterativeScheduler around a closed-form network.

Network: F(u, c_noise) = 2.2 tanh(u + c_noise / 1000), element by element, fed u = c_in x and c_noise = 250 ln sigma.
The loop is that of ConsistencyModelPipeline; the noise is recorded instead of drawn.

Keys: `noise.0` is the start in units of sigma_max, `noise.K` what step K - 1 adds for step K, all [N, C, H, W].
`CASE.sigmas` are the noise levels of the steps, `CASE.timesteps` what the network is fed there,
`CASE.denoised.K` the estimate after step K, `CASE.samples` the result.
`grid.sigmas`, `grid.timesteps` are the 40 levels of the whole schedule, descending;
`spaced.N` the levels of `num_inference_steps = N`. `scheduler_config.json` is what `save_config` writes.
"""

import pathlib
import sys

import torch
from diffusers import CMStochasticIterativeScheduler
from diffusers.schedulers import scheduling_consistency_models as module

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "ct-model" / "tests" / "golden"))

import golden

SEED, SHAPE = 301, (3, 2, 4, 4)
# Indices into the grid of 40, as `timesteps` of the pipeline, and whether the estimate is clipped to [-1, 1].
CASES = {
    "one_step": ([0], True),
    "two_steps": ([22, 0], True),
    "three_steps": ([34, 17, 0], True),
    "two_steps_unclipped": ([22, 0], False),
}


def network(u, c_noise):
    return 2.2 * torch.tanh(u + c_noise / 1000)


def sample(indices, clip, noise):
    """The pipeline's loop, with the scheduler's noise taken from `noise` in order."""
    scheduler = CMStochasticIterativeScheduler(clip_denoised=clip)
    scheduler.set_timesteps(timesteps=indices)
    steps = len(indices)
    # Its last step adds one more draw, times the rounding error of sigma_min^2: zero is what is meant.
    supply = iter([*noise[1:steps], torch.zeros_like(noise[0])])
    module.randn_tensor = lambda *_, **__: next(supply)

    out = {"sigmas": scheduler.sigmas[:steps].double(), "timesteps": scheduler.timesteps}
    x = noise[0] * scheduler.init_noise_sigma
    for k, (sigma, timestep) in enumerate(zip(scheduler.sigmas[:steps], scheduler.timesteps)):
        raw = network(scheduler.scale_model_input(x, timestep), timestep)
        c_skip, c_out = scheduler.get_scalings_for_boundary_condition(sigma)
        denoised = c_out * raw + c_skip * x
        out[f"denoised.{k}"] = denoised.clamp(-1, 1) if clip else denoised
        x = scheduler.step(raw, timestep, x).prev_sample
    return out | {"samples": x}


torch.set_num_threads(1)
generator = torch.Generator().manual_seed(SEED)
noise = [torch.randn(SHAPE, generator=generator).double() for _ in range(3)]

tensors = {f"noise.{k}": value.float() for k, value in enumerate(noise)}
for name, (indices, clip) in CASES.items():
    tensors |= {f"{name}.{key}": value for key, value in sample(indices, clip, noise).items()}

scheduler = CMStochasticIterativeScheduler(num_train_timesteps=40)
scheduler.save_config(HERE)
tensors |= {"grid.sigmas": scheduler.sigmas, "grid.timesteps": scheduler.timesteps}
for steps in range(1, 6):
    scheduler.set_timesteps(steps)
    tensors[f"spaced.{steps}"] = scheduler.sigmas[:steps].double()

golden.save(
    HERE / "case.safetensors",
    tensors,
    __file__,
    cases={name: {"timesteps": indices, "clip_denoised": clip} for name, (indices, clip) in CASES.items()},
    seed=str(SEED),
    versions=golden.versions("torch", "diffusers", "safetensors"),
    # The scheduler keeps its noise levels in float32 (`grid` is float64).
    # Relative to max(1, the largest magnitude in the tensor).
    tolerances={"samples": 1e-5, "sigmas": 1e-6, "grid": 1e-12},
)
