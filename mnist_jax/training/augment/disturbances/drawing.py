"""Amounts, places and textures, of each image its own.

A disturbance is given one row of amounts for each image, uniform in 0 to 1 and drawn for all at once: many
small draws would take long to compile.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

NUM_AMOUNTS = 10
Amounts = Float[Array, "batch 10"]
PerImage = Float[Array, "batch 1 1 1"]
Pixels = Float[Array, "batch height width 1"]


def between(amounts: Amounts, index: int, low: float, high: float) -> PerImage:
    """Brings one amount of each image to a range."""
    return (low + (high - low) * amounts[:, index]).reshape(-1, 1, 1, 1)


def is_below(amounts: Amounts, index: int, probability: float = 0.5) -> Bool[Array, "batch 1 1 1"]:
    """Takes one amount of each image for a coin that falls on this side with a probability."""
    return (amounts[:, index] < probability).reshape(-1, 1, 1, 1)


def line_coordinates(amounts: Amounts, shape: tuple[int, ...]) -> tuple[Pixels, Pixels]:
    """Lays a straight line through each image by its first three amounts.

    A quarter of them are level, a quarter upright, the others of any direction; a point of each is in the
    middle 70% of the rows and columns. ``shape`` is that of the images.

    Returns:
        how far along and across it each pixel lies, in pixels.
    """
    height, width = shape[1:3]
    angle = jnp.where(
        is_below(amounts, 0, 0.5),
        jnp.where(is_below(amounts, 0, 0.25), 0.0, np.pi / 2),
        between(amounts, 0, -np.pi, np.pi),
    )
    rows = jnp.arange(height).reshape(-1, 1, 1) - height * between(amounts, 1, 0.15, 0.85)
    columns = jnp.arange(width).reshape(-1, 1) - width * between(amounts, 2, 0.15, 0.85)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return cos * columns + sin * rows, cos * rows - sin * columns


def texture(
    key: Key[Array, ""],
    decay: PerImage,
    shape: tuple[int, ...],
    cells: tuple[int, ...],
) -> Pixels:
    """Draws noise on grids of so many cells a side, added up after linear interpolation, scaled to 0 to 1.

    Each grid weighs as the one before it times ``decay``.
    """
    total, start = jnp.zeros((*shape[:3], 1)), 0
    corners = [(count + 1) ** 2 for count in cells]
    drawn = jax.random.uniform(key, (shape[0], sum(corners)))
    for i, (count, number) in enumerate(zip(cells, corners, strict=True)):
        rough = drawn[:, start : start + number].reshape(-1, count + 1, count + 1)
        along_rows, along_columns = (_interpolation(size, count) for size in shape[1:3])
        smooth = jnp.einsum("rh,bhw,cw->brc", along_rows, rough, along_columns)
        total, start = total + decay**i * smooth[..., None], start + number
    total -= total.min((1, 2, 3), keepdims=True)
    return total / jnp.maximum(total.max((1, 2, 3), keepdims=True), 1e-6)


def _interpolation(size: int, cells: int) -> np.ndarray:
    """Linear interpolation of the corners of cells as a matrix, float32 ``[size, cells + 1]``."""
    places = np.linspace(0, cells, size)[:, None]
    return np.maximum(0, 1 - np.abs(places - np.arange(cells + 1))).astype(np.float32)
