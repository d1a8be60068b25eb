"""Drawings of digits, and the same as files, for the tests of pictures."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnist_jax.data.pictures.mnist_form import to_mnist

STROKES = {
    "2": [(3, 5), (6, 1), (11, 1), (13, 5), (3, 19), (14, 18)],
    "7": [(2, 1), (14, 1), (6, 19)],
    "9": [(13, 7), (8, 10), (4, 7), (5, 2), (10, 1), (13, 7), (11, 19)],
}


def draw(points, side=560, pen=50, paper=0, ink=255) -> Image.Image:
    """A pen drawing of points in a 20 x 20 box, somewhat off the center of a square sheet."""
    sheet = Image.new("L", (side, side), paper)
    scale = side / 40
    line = [((x + 6) * scale, (y + 13) * scale) for x, y in points]
    ImageDraw.Draw(sheet).line(line, fill=ink, width=pen, joint="curve")
    return sheet


@pytest.fixture(params=STROKES)
def drawing(request) -> Image.Image:
    return draw(STROKES[request.param])


@pytest.fixture
def digit(drawing) -> np.ndarray:
    """The drawing in MNIST's form, uint8 [28, 28]."""
    return to_mnist(np.asarray(drawing) / 255)[..., 0]


def saved(picture: Image.Image, file_format="PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    file.seek(0)
    return file
