"""Images of diffusers' ConsistencyModelPipeline beside those of `ct sample`, from the same noise.

    python pipeline_images.py --model DIR --ct PROGRAM

DIR is a model folder of three channels that `ct` has written. The noise is drawn here once, given to `ct sample` as a
file and to the pipeline in the place of its own draws, for one, two and five steps of the scheduler's grid.
Prints the largest difference of a value in [0, 1], and its share of the largest value.
"""

import argparse
import pathlib
import subprocess
import tempfile

import torch
from diffusers import ConsistencyModelPipeline
from diffusers.pipelines.consistency_models import pipeline_consistency_models as pipeline_module
from diffusers.schedulers import scheduling_consistency_models as scheduler_module
from safetensors.torch import load_file, save_file

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", type=pathlib.Path, required=True)
parser.add_argument("--ct", type=pathlib.Path, required=True)
args = parser.parse_args()

NUM = 4
CASES = {"one step": [0], "two steps": [22, 0], "five steps": [33, 25, 17, 8, 0]}
pipe = ConsistencyModelPipeline.from_pretrained(args.model)
pipe.set_progress_bar_config(disable=True)
size = pipe.unet.config.sample_size
torch.manual_seed(0)
for name, timesteps in CASES.items():
    noise = [torch.randn(NUM, 3, size, size) for _ in timesteps]
    # The last step adds noise of scale zero.
    supply = iter([*noise, torch.zeros_like(noise[0])])
    draw = lambda *_, **__: next(supply)
    pipeline_module.randn_tensor = scheduler_module.randn_tensor = draw
    many = {} if len(timesteps) == 1 else {"num_inference_steps": None, "timesteps": timesteps}
    theirs = torch.from_numpy(pipe(batch_size=NUM, output_type="np", **({"num_inference_steps": 1} | many)).images)
    with tempfile.TemporaryDirectory() as folder:
        record, out = pathlib.Path(folder, "noise.safetensors"), pathlib.Path(folder, "out.safetensors")
        save_file({f"noise.{k}": z for k, z in enumerate(noise)}, record)
        numbers = ",".join(map(str, timesteps))
        command = [args.ct, "sample", "--model", args.model, "--noise", record, "--timesteps", numbers]
        subprocess.run([*command, "--save-tensors", out], check=True, stdout=subprocess.DEVNULL)
        ours = (load_file(out)["samples"] / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    off = (ours - theirs).abs().max().item()
    print(f"{name:<12} {off:.1e} of {theirs.abs().max().item():.2f}")
