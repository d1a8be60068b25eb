"""A picture of a page with a box and an answer at each digit (no JAX)."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnist_jax.data.pictures.pages.answer import Digit
from mnist_jax.data.pictures.pages.find import Page
from mnist_jax.data.pictures.steps import PAGE_SIDE, Step, note

if TYPE_CHECKING:
    from PIL import Image

_SURE, _UNSURE = (0, 90, 200), (215, 90, 0)


def draw_boxes(page: Page, digits: Sequence[Digit]) -> bytes:
    """Returns a PNG file: the page, at most 2,048 pixels a side, blue boxes, orange ones where unsure."""
    file = io.BytesIO()
    _with_boxes(page, digits).save(file, "PNG")
    return file.getvalue()


def last_step(page: Page, digits: Sequence[Digit]) -> Step:
    """Returns the same as the last step of a page, reduced to the size of the others."""
    reduced: list[Step] = []
    note(reduced, "", page.gray, PAGE_SIDE)
    small = page._replace(gray=reduced[0].image)
    return Step("digits read", np.asarray(_with_boxes(small, digits)))


def _with_boxes(page: Page, digits: Sequence[Digit]) -> "Image.Image":
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(page.gray).convert("RGB")
    draw = ImageDraw.Draw(picture)
    down, across = page.gray.shape[0] / page.shape[0], page.gray.shape[1] / page.shape[1]
    width = max(1, round(max(picture.size) / 700))
    for digit in digits:
        top, left, bottom, right = digit.box
        top, left, bottom, right = top * down, left * across, bottom * down, right * across
        color = _UNSURE if digit.doubt else _SURE
        draw.rectangle((left - width, top - width, right + width, bottom + width), outline=color, width=width)
        font = ImageFont.load_default(max(10, 0.4 * (bottom - top)))
        # Above and to the left, where the next digit is not yet.
        draw.text((left - width, top - width), digit.text, color, font, anchor="lb")
    return picture
