"""Pictures as files."""

from io import BytesIO

import numpy as np
from PIL import Image


def encode(pixels, kind="PNG"):
    """uint8 or float32 pixels as the bytes of a picture file."""
    file = BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, kind)
    return file.getvalue()


def seven(side=120):
    """A seven, black on white, uint8 [side, side]."""
    pixels = np.full((side, side), 255, np.uint8)
    pixels[side // 5 : side // 4, side // 4 : 3 * side // 4] = 0
    for row in range(side // 5, 4 * side // 5):
        left = int(0.75 * side - 0.4 * (row - side // 5))
        pixels[row, left - side // 16 : left] = 0
    return pixels
