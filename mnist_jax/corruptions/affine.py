"""Shears, scales, turns and shifts, about the center, with paper beyond the border."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mnist_jax.corruptions.image import Image

_SHEAR, _TURN = 0.4, 0.4  # radians
_SCALE = 0.7  # of what is left of the digit
_SHIFT = 3  # pixels, along both axes


def shear(key: Key[Array, ""], image: Image) -> Image:
    """Shears to the left or to the right."""
    angle = _SHEAR * _sign(key)
    return warp(image, jnp.array([[1.0, 0.0], [0.0, 0.0]]) + _columns(-jnp.sin(angle), jnp.cos(angle)))


def scale(key: Key[Array, ""], image: Image) -> Image:
    """Shrinks; nothing about it is random."""
    return warp(image, jnp.eye(2) / _SCALE)


def rotate(key: Key[Array, ""], image: Image) -> Image:
    """Turns to the left or to the right."""
    angle = _TURN * _sign(key)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return warp(image, jnp.array([[cos, 0.0], [sin, 0.0]]) + _columns(-sin, cos))


def translate(key: Key[Array, ""], image: Image) -> Image:
    """Shifts by whole pixels, each way at random."""
    return warp(image, jnp.eye(2), _SHIFT * _sign(key, 2))


def warp(
    image: Image, matrix: Float[Array, "2 2"], shift: Float[Array, "2"] | np.ndarray | None = None
) -> Image:
    """Takes each pixel from ``matrix @ (x, y) + shift``, x and y from the center; between pixels bilinearly.

    What lies beyond the border is 0, and so is the neighbor of a pixel at the border.
    """
    height, width = image.shape
    center = jnp.array([(width - 1) / 2, (height - 1) / 2])
    rows, columns = jnp.mgrid[:height, :width]
    places = jnp.stack([columns, rows], axis=-1) - center
    x, y = jnp.moveaxis(places @ matrix.T + center + (0 if shift is None else shift), -1, 0)
    return jax.scipy.ndimage.map_coordinates(image, [y, x], order=1, mode="constant")


def _sign(key: Key[Array, ""], count: int | None = None) -> Array:
    """-1 or 1, one or several."""
    return jax.random.rademacher(key, () if count is None else (count,), jnp.float32)


def _columns(first: Array, second: Array) -> Array:
    return jnp.stack([jnp.zeros(2), jnp.stack([first, second])], axis=1)
