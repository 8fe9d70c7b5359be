"""What known libraries make of pictures that `ct edit` has measured, for the table of `cargo xtask edits`.

    python edit_baselines.py EDIT --edited edited.safetensors --out baseline.safetensors

EDIT is inpaint (Telea's method, OpenCV), upscale (bicubic, OpenCV), deblur (Richardson-Lucy, scikit-image, given the
true kernel) or denoise (non-local means, scikit-image, given the true sigma).
`--edited` is what `ct edit EDIT --measure --save-tensors` wrote: `input` and `measured`, [N, C, H, W] in [-1, 1].
The result holds `samples` and `input`, as `ct eval --pairs` reads them.
Needs numpy, safetensors, opencv-python-headless and scikit-image.
"""

import argparse
import pathlib

import cv2
import numpy as np
from safetensors.numpy import load_file, save_file
from skimage import restoration


def to_unit(x):
    """[C, H, W] in [-1, 1] to [H, W, C] in [0, 1]."""
    return np.clip(x.transpose(1, 2, 0) / 2 + 0.5, 0, 1)


def from_unit(image, shape):
    return (image.reshape(shape[1], shape[2], shape[0]).transpose(2, 0, 1) * 2 - 1).astype(np.float32)


def inpaint(measured, shape, args):
    left, top, width, height = args.rect
    hole = np.zeros(shape[1:], np.uint8)
    hole[top : top + height, left : left + width] = 255
    image = np.ascontiguousarray((to_unit(measured) * 255).round().astype(np.uint8).squeeze())
    return cv2.inpaint(image, hole, 3, cv2.INPAINT_TELEA) / 255


def upscale(measured, shape, args):
    small = np.ascontiguousarray(to_unit(measured))
    return np.clip(cv2.resize(small, (shape[2], shape[1]), interpolation=cv2.INTER_CUBIC), 0, 1)


def deblur(measured, shape, args):
    reach = int(np.ceil(4 * args.std))
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / args.std) ** 2)
    kernel = np.outer(bell, bell) / bell.sum() ** 2
    image = np.pad(to_unit(measured), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    sharp = [restoration.richardson_lucy(image[..., c], kernel, num_iter=30) for c in range(shape[0])]
    return np.clip(np.stack(sharp, -1)[reach:-reach, reach:-reach], 0, 1)


def denoise(measured, shape, args):
    # Pixels from 0 to 1 have half the noise of pixels from -1 to 1.
    image = measured.transpose(1, 2, 0) / 2 + 0.5
    clean = restoration.denoise_nl_means(
        image, patch_size=3, patch_distance=7, h=0.8 * args.sigma / 2, sigma=args.sigma / 2, channel_axis=-1
    )
    return np.clip(clean, 0, 1)


EDITS = {"inpaint": inpaint, "upscale": upscale, "deblur": deblur, "denoise": denoise}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("edit", choices=EDITS)
parser.add_argument("--edited", type=pathlib.Path, required=True)
parser.add_argument("--out", type=pathlib.Path, required=True)
parser.add_argument("--rect", type=lambda text: [int(v) for v in text.split(",")], help="X,Y,W,H of the hole")
parser.add_argument("--std", type=float, help="of the blur, in pixels")
parser.add_argument("--factor", type=int, help="of upscaling; the sizes of the pictures tell it too")
parser.add_argument("--sigma", type=float, help="of the noise, where pixels go from -1 to 1")
args = parser.parse_args()

edited = load_file(args.edited)
shape = edited["input"].shape[1:]
made = [from_unit(np.asarray(EDITS[args.edit](y, shape, args)), shape) for y in edited["measured"]]
save_file({"samples": np.ascontiguousarray(np.stack(made)), "input": edited["input"]}, args.out)
