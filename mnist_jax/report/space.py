"""The layers of a network as planes in space, as the demo shows them, in one still image."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Float, Shaped

from mnist_jax.report import style
from mnist_jax.report.inline import png_uri

_AZIMUTH, _ELEVATION = -1.13, 0.24  # radians, as in the demo
_UNIT = 84.0  # pixels of the image for one unit of space
_STEP = 1.25  # from one layer to the next, in units of space
_SMALLEST, _LARGEST = 1.3, 2.7  # sides of the planes
_MARGIN, _TEXT = 12.0, 30.0


def layers_in_space(
    image: Shaped[np.ndarray, "height width channels"],
    layers: Sequence[tuple[str, Float[np.ndarray, "..."]]],
) -> str:
    """Draws an image and what each layer makes of it as planes, from the left to the right.

    Args:
        image: what the network was given.
        layers: name and output of each, ``[height, width, channels]`` or ``[units]``; shown from 0 on.

    Returns:
        An ``svg`` element that needs nothing else.
    """
    sheets = [("the picture", image.size, style.picture_rgba(image, is_ink=False))]
    for name, outputs in layers:
        strength = np.maximum(outputs, 0)
        sheet = style.strength_rgba(_square_sheet(strength), float(strength.max()))
        sheets.append((name, outputs.size, sheet))
    parts, right, bottom = [], 0.0, 0.0
    across = math.cos(_AZIMUTH), math.sin(_ELEVATION) * math.sin(_AZIMUTH)
    along = -math.sin(_AZIMUTH), math.sin(_ELEVATION) * math.cos(_AZIMUTH)
    step = _STEP * _UNIT
    middle = _MARGIN + _LARGEST * _UNIT * (math.cos(_ELEVATION) - across[1]) / 2
    for number, (name, units, sheet) in enumerate(sheets):
        height, width = sheet.shape[:2]
        side = min(max(0.62 * math.log10(units), _SMALLEST), _LARGEST) * _UNIT
        scale = side / max(height, width)
        a, b, d = across[0] * scale, across[1] * scale, math.cos(_ELEVATION) * scale
        x = _MARGIN + _LARGEST * _UNIT * across[0] / 2 + number * step * along[0]
        y = middle + number * step * along[1]
        left, top = x - a * width / 2, y - (b * width + d * height) / 2
        place = f'transform="matrix({a:.4f} {b:.4f} 0 {d:.4f} {left:.1f} {top:.1f})"'
        size = f'width="{width}" height="{height}" {place}'
        parts.append(
            f'<image href="{png_uri(sheet)}" style="image-rendering: pixelated" {size}/>'
            f'<rect fill="none" stroke="currentColor" stroke-opacity="0.25" '
            f'vector-effect="non-scaling-stroke" {size}/>'
        )
        lowest = y + (d * height - b * width) / 2 + 14
        parts.append(
            f'<text x="{x:.1f}" y="{lowest:.1f}" text-anchor="middle" font-size="12" fill="currentColor">'
            f"{escape(name)}</text>"
        )
        right, bottom = max(right, x + max(a * width, 60) / 2), max(bottom, lowest)
    names = ", ".join(escape(name, quote=True) for name, _, _ in sheets)
    return (
        f'<svg class="space" role="img" aria-label="The layers in space: {names}" '
        f'viewBox="0 0 {right + _MARGIN:.0f} {bottom + _TEXT / 2:.0f}" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(parts)}</svg>"
    )


def _square_sheet(outputs: Float[np.ndarray, "..."]) -> Float[np.ndarray, "rows columns"]:
    maps = outputs[None, None] if outputs.ndim == 1 else outputs
    height, width, count = maps.shape
    columns = math.ceil(math.sqrt(count * height / width))
    return style.tile_sheet(np.moveaxis(maps, -1, 0), columns, gap=int(width > 1))
