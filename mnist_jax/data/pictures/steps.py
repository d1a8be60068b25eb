"""What each step of the preparation made of a picture, kept where somebody asks for it (no JAX).

The functions that prepare take a list for ``steps`` and add to it what they did, in order; without one
nothing is kept.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from mnist_jax.data.pictures.fit import to_uint8

# Larger pictures are kept reduced by a whole factor.
LONGEST_SIDE = 256
PAGE_SIDE = 768

# The first step and the last. A picture is upright, as programs show it; what is transparent is gray.
AS_GIVEN = "as given"
GIVEN = "what the network was given"

# In pixels of the sheet.
_GAP, _TEXT = 16, 15
_GROUND, _INK = (246, 245, 241), (35, 35, 31)


class Step(NamedTuple):
    """What one step made of a picture."""

    name: str
    # At most `LONGEST_SIDE` pixels a side, of a page `PAGE_SIDE`. From the step that tells ink from paper on,
    # ink is light on black.
    image: UInt8[np.ndarray, "height width *channels"]


def note(
    steps: list[Step] | None,
    name: str,
    image: Shaped[np.ndarray, "height width *channels"],
    longest: int = LONGEST_SIDE,
) -> None:
    """Adds a step to a list, where there is one.

    Args:
        steps: where to.
        name: what was done.
        image: what it made: tones in [0, 1], of which what lies outside is clipped, or uint8; ``[H, W]``,
            ``[H, W, 1]`` or ``[H, W, 3]``.
        longest: pixels a side that are kept.
    """
    if steps is None:
        return
    from PIL import Image

    pixels = image if image.dtype == np.uint8 else to_uint8(image)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    factor = -(-max(picture.size) // longest)
    steps.append(Step(name, np.array(picture.reduce(factor))))


def draw_steps(steps: Sequence[Step]) -> bytes:
    """Returns a PNG file: the steps side by side, each below its number and name."""
    from PIL import Image, ImageDraw, ImageFont

    pictures = [Image.fromarray(step.image) for step in steps]
    side = max(LONGEST_SIDE, *(max(picture.size) for picture in pictures))
    # Pixels of small pictures stay squares.
    scales = [max(1, side // max(picture.size)) for picture in pictures]
    height = max(scale * picture.height for scale, picture in zip(scales, pictures, strict=True))
    across, below = side + _GAP, _GAP + 2 * _TEXT
    sheet = Image.new("RGB", (len(steps) * across + _GAP, below + height + _GAP), _GROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT)
    for number, (step, picture, scale) in enumerate(zip(steps, pictures, scales, strict=True)):
        left = _GAP + number * across
        draw.text((left, _GAP), f"{number + 1}  {step.name}", _INK, font)
        size = scale * picture.width, scale * picture.height
        sheet.paste(picture.resize(size, Image.Resampling.NEAREST), (left, below))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
