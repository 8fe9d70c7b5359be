"""The AlexNet trunk, at the least size that it takes; gray images of 8 x 8 become 32 x 32."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import lpips

lpips.record(__file__, "AlexNet_0", [3, 4, 5, 4, 4], seed=7, size=(31, 32), gray=(8, 8), factor=4)
