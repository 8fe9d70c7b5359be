"""The JSON files that diffusers' ConsistencyModelPipeline.save_pretrained writes for `unet_default`.

`files.json` lists the folder's files, and the names, shapes and metadata inside the weights file.
The weights themselves are those of `unet_default/case.safetensors`.
"""

import json
import pathlib
import shutil
import tempfile

import safetensors
import torch
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline, UNet2DModel

HERE = pathlib.Path(__file__).resolve().parent

with safetensors.safe_open(HERE.parent / "unet_default" / "case.safetensors", "pt") as case:
    config = json.loads(case.metadata()["config"])
torch.manual_seed(0)
pipeline = ConsistencyModelPipeline(UNet2DModel(**config), CMStochasticIterativeScheduler())

with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    pipeline.save_pretrained(folder)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    for file in files:
        if file.endswith(".json"):
            (HERE / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / file, HERE / file)
    with safetensors.safe_open(folder / "unet" / "diffusion_pytorch_model.safetensors", "pt") as weights:
        listing = {
            "files": files,
            "weights_metadata": weights.metadata(),
            "weights": {key: weights.get_slice(key).get_shape() for key in sorted(weights.keys())},
        }

(HERE / "files.json").write_text(json.dumps(listing, indent=1) + "\n")
