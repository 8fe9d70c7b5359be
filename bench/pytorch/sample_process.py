"""The whole process that `ct sample` is: load a model folder, sample in one step, write a grid as a PNG.

Its time from start to exit is taken from outside.
"""

import argparse

import numpy
import torch
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline, UNet2DModel
from PIL import Image

COLUMNS = 8
PADDING = 2


def grid(images):
    """images: [N, H, W, C] in [0, 1]."""
    count, height, width, channels = images.shape
    rows = -(-count // COLUMNS)
    canvas = numpy.zeros((rows * (height + PADDING) + PADDING, COLUMNS * (width + PADDING) + PADDING, channels))
    for idx, image in enumerate(images):
        top = PADDING + idx // COLUMNS * (height + PADDING)
        left = PADDING + idx % COLUMNS * (width + PADDING)
        canvas[top : top + height, left : left + width] = image
    return Image.fromarray((255 * canvas).round().astype("uint8").squeeze())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--grid", required=True)
    parser.add_argument("--num", type=int, default=64)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    unet = UNet2DModel.from_pretrained(args.model, subfolder="unet")
    scheduler = CMStochasticIterativeScheduler.from_pretrained(args.model, subfolder="scheduler")
    pipeline = ConsistencyModelPipeline(unet=unet, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=args.num, num_inference_steps=1, output_type="np").images
    grid(images).save(args.grid)


if __name__ == "__main__":
    main()
