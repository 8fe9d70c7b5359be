"""Read with diffusers what the example `write_flags` wrote, and compare with the recorded outputs.

    python read_back.py OUT

Prints the table of the way back: each case, the largest absolute and relative difference in float32.
"""

import json
import pathlib
import sys

import torch
from diffusers import UNet2DModel
from safetensors import safe_open

HERE = pathlib.Path(__file__).resolve().parent
torch.set_num_threads(1)
out = pathlib.Path(sys.argv[1])
print("| case | max abs | relative |\n| --- | --- | --- |")
for path in sorted(HERE.glob("*.safetensors")):
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
        sample, timestep, output = (file.get_tensor(name) for name in ("sample", "timestep", "output"))
        labels = file.get_tensor("class_labels") if "class_labels" in file.keys() else None
    model, info = UNet2DModel.from_pretrained(
        out / path.stem / "unet", output_loading_info=True, low_cpu_mem_usage=False
    )
    problems = {key: found for key, found in info.items() if found}
    assert not problems, (path.stem, problems)
    learned = config.get("time_embedding_type") == "learned"
    if config.get("class_embed_type") == "timestep" and not learned:
        labels = labels.float()
    with torch.no_grad():
        got = model.eval()(sample, timestep.long() if learned else timestep, labels).sample
    error, scale = (got - output).abs().max().item(), output.abs().max().item()
    print(f"| {path.stem} | {error:.1e} | {error / scale:.1e} |")
