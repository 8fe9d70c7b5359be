"""The VGG16 trunk; gray images of 8 x 8 become 16 x 16."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import lpips

lpips.record(__file__, "VGG16_0", [3, 4, 4, 5, 5], seed=8, size=(17, 20), gray=(8, 8), factor=2)
