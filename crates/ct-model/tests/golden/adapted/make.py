"""Networks of other processes, and the clean samples that diffusers' schedulers make of their outputs.

Each case is one small UNet with a scheduler, a few noisy samples x0 + sigma z with a sigma
of the scheduler each, and the scheduler's estimate of x0 (clipping off). Networks and estimates
are computed in float64, as in unet.py; the schedulers' tables are float32, as diffusers has them.
`tables.safetensors` holds the sigmas of some steps of every schedule of betas.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import diffusers
import torch

import golden
import unet

SMALL = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [4, 8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "mid_block_type": None,
    "attention_head_dim": 4,
    "norm_num_groups": 2,
}
OFF = {"clip_sample": False}
FEW = [0, 1, 20, 37, 49]
MANY = [0, 1, 250, 700, 999]
SIGMAS = [0.003, 0.05, 0.6, 7.0, 79.0]

# name: scheduler, its settings, settings of the network, where it is asked
CASES = {
    "ddpm_epsilon_linear": ("DDPMScheduler", OFF, {}, MANY),
    "ddpm_epsilon_sigmoid": ("DDPMScheduler", {"beta_schedule": "sigmoid", **OFF}, {}, MANY),
    "ddpm_v_squaredcos": (
        "DDPMScheduler",
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction", **OFF},
        {},
        MANY,
    ),
    "ddpm_sample_scaled_linear": (
        "DDPMScheduler",
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "sample", **OFF},
        {},
        MANY,
    ),
    "ddpm_trained_betas": (
        "DDPMScheduler",
        {"num_train_timesteps": 50, "trained_betas": [0.001 + 0.0002 * i * i for i in range(50)], **OFF},
        {},
        FEW,
    ),
    "ddpm_learned_variance": (
        "DDPMScheduler",
        {"variance_type": "learned_range", **OFF},
        {"out_channels": 6},
        MANY,
    ),
    "ddpm_learned_times": (
        "DDPMScheduler",
        {"num_train_timesteps": 50, "beta_end": 0.2, **OFF},
        {"time_embedding_type": "learned", "num_train_timesteps": 50},
        FEW,
    ),
    "ddim_v_linear": ("DDIMScheduler", {"prediction_type": "v_prediction", **OFF}, {}, MANY),
    # It is never asked at step 0.
    "dpm_solver_epsilon": ("DPMSolverMultistepScheduler", {"beta_schedule": "scaled_linear"}, {}, [1, 20, 250, 700, 999]),
    "euler_v_linear": ("EulerDiscreteScheduler", {"prediction_type": "v_prediction"}, {}, MANY),
    "edm_epsilon": ("EDMEulerScheduler", {"sigma_data": 0.6}, {}, SIGMAS),
    "edm_v": (
        "EDMDPMSolverMultistepScheduler",
        {"prediction_type": "v_prediction", "sigma_schedule": "exponential"},
        {"num_class_embeds": 5},
        SIGMAS,
    ),
}
GRADIENTS = ["ddpm_epsilon_linear", "ddpm_v_squaredcos", "ddpm_learned_variance", "edm_v"]

# For an implementation in float32, relative to the largest magnitude.
TOLERANCES = {"denoised": 1e-4, "grads": 1e-3, "sigmas": 1e-5}


def table(scheduler):
    alphas = scheduler.alphas_cumprod.double()
    return ((1 - alphas) / alphas) ** 0.5


def estimate(scheduler, place, model, x, labels):
    """The scheduler's estimate for x = x0 + sigma z, with the scheduler's own calls."""
    name = type(scheduler).__name__
    if name.startswith("EDM"):
        sigma = torch.tensor(place, dtype=torch.float64)
        output = model(scheduler.precondition_inputs(x, sigma), scheduler.precondition_noise(sigma), labels).sample
        return scheduler.precondition_outputs(x, output, sigma)
    time = torch.tensor([place])
    sigma = table(scheduler)[place]
    x_vp = x / (1 + sigma**2) ** 0.5
    if model.config.time_embedding_type == "positional":
        time = time.double()
    output = model(x_vp, time, labels).sample
    if name == "EulerDiscreteScheduler":
        scheduler.set_timesteps(scheduler.config.num_train_timesteps)
        at = torch.tensor(float(place))
        assert torch.allclose(scheduler.scale_model_input(x, at), x_vp, rtol=1e-5, atol=1e-6)
        return scheduler.step(output, at, x).pred_original_sample
    if name == "DPMSolverMultistepScheduler":
        scheduler.set_timesteps(scheduler.config.num_train_timesteps)
        scheduler._init_step_index(place)
        return scheduler.convert_model_output(output, sample=x_vp)
    scheduler.set_timesteps(scheduler.config.num_train_timesteps)
    return scheduler.step(output, place, x_vp).pred_original_sample


def record(name, seed):
    kind, settings, flags, places = CASES[name]
    scheduler = getattr(diffusers, kind)(**settings)
    config = SMALL | flags
    generator = torch.Generator().manual_seed(seed)
    model = diffusers.UNet2DModel(**config).eval()
    unet.draw_weights(model, generator)
    for parameter in model.parameters():
        parameter.data.copy_(parameter.data.half().float())
    weights = {key: value.half() for key, value in model.state_dict().items()}
    model.double()
    if config.get("time_embedding_type", "positional") == "positional":
        model.time_proj = unet.ExactTimesteps(config["block_out_channels"][0], 0, True)

    num = len(places)
    edm = kind.startswith("EDM")
    sigmas = torch.tensor(places, dtype=torch.float64) if edm else table(scheduler)[places]
    size = (config["in_channels"], config["sample_size"], config["sample_size"])
    clean, noise = (unet.normal(generator, num, *size) for _ in range(2))
    x = (0.5 * clean + sigmas.view(-1, 1, 1, 1) * noise).float().double().requires_grad_()
    labels = torch.arange(num) if "num_class_embeds" in config else None

    def run(i):
        given = None if labels is None else labels[i : i + 1]
        return estimate(scheduler, places[i], model, x[i : i + 1], given)

    denoised = torch.cat([run(i) for i in range(num)])
    tensors = {f"weights.{key}": value for key, value in weights.items()}
    tensors |= {"x": x.float(), "sigma": sigmas, "denoised": denoised.float()}
    if not edm:
        tensors["ends"] = table(scheduler)[[0, -1]]
    if labels is not None:
        tensors["class_labels"] = labels
    if name in GRADIENTS:
        # Each estimate at the scale of its noise level, so that no level drowns the others.
        cotangent = unet.normal(generator, *denoised.shape) / (1 + sigmas.view(-1, 1, 1, 1))
        cotangent = cotangent.float().double()
        trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
        of_x, *grads = torch.autograd.grad(denoised, [x, *trained.values()], cotangent)
        tensors |= {"grad_output": cotangent.float(), "grad_x": of_x.float()}
        tensors |= {f"grads.{key}": unet.drop_dust(g).float() for key, g in zip(trained, grads)}
    golden.save(
        HERE / f"{name}.safetensors",
        tensors,
        __file__,
        config=model.to_json_string(),
        scheduler=scheduler.to_json_string(),
        seed=str(seed),
        recipe_sha256=golden.sha256(unet.__file__),
        versions=golden.versions("torch", "diffusers", "safetensors"),
        tolerances=TOLERANCES,
    )


def record_tables():
    steps = [0, 1, 2, 10, 499, 500, 998, 999]
    tables = {"steps": torch.tensor(steps)}
    for schedule in ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"]:
        tables[schedule] = table(diffusers.DDPMScheduler(beta_schedule=schedule))[steps]
    heun = diffusers.HeunDiscreteScheduler(beta_schedule="exp", beta_start=0.0001, beta_end=0.02)
    tables["exp"] = table(heun)[steps]
    versions = golden.versions("torch", "diffusers", "safetensors")
    golden.save(HERE / "tables.safetensors", tables, __file__, versions=versions, tolerances=TOLERANCES)


torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
record_tables()
for index, case in enumerate(CASES):
    record(case, 900 + index)
