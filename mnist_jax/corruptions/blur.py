"""Blurs: of frosted glass, and of motion."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Key

from mnist_jax.corruptions.image import Image

_GLASS_SIGMA, _GLASS_ROUNDS = 0.7, 2
_MOTION_LENGTH, _MOTION_SIGMA, _MOTION_ANGLE = 10, 3.0, 45.0  # pixels, pixels, degrees


def gaussian_blur(image: Image, sigma: float, beyond: str = "edge") -> Image:
    """Convolves with a Gaussian cut off at four standard deviations.

    Args:
        image: to blur.
        sigma: standard deviation, in pixels.
        beyond: what is beyond the border, as `jnp.pad` names it: ``"edge"`` or ``"constant"``, which is 0.
    """
    radius = int(4 * sigma + 0.5)
    places = np.arange(-radius, radius + 1)
    bell = np.exp(-0.5 * (places / sigma) ** 2)
    kernel = jnp.asarray(bell / bell.sum(), jnp.float32)
    for axis in (0, 1):
        padding = [(radius, radius) if axis == other else (0, 0) for other in (0, 1)]
        padded = jnp.pad(image, padding, mode=beyond)
        size = image.shape[axis]
        shifted = [lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(2 * radius + 1)]
        image = sum(weight * part for weight, part in zip(kernel, shifted, strict=True))
    return image


def glass_blur(key: Key[Array, ""], image: Image) -> Image:
    """Blurs, swaps neighbors at random, and blurs again.

    Pixels are visited from the last to the first, twice; every other one is swapped with one that lies none
    or one row above, and none or one column to the left.
    """
    blurred = jnp.floor(gaussian_blur(image, _GLASS_SIGMA) * 255) / 255
    height, width = image.shape
    last_rows, last_columns = height - 2, width - 2  # how many are visited
    steps = _GLASS_ROUNDS * last_rows * last_columns
    draws = jax.random.bernoulli(key, shape=(steps, 3)).astype(jnp.int32)

    def swap(step: Array, pixels: Array) -> Array:
        place = step % (last_rows * last_columns)
        row, column = height - 1 - place // last_columns, width - 1 - place % last_columns
        is_swapped, up, left = draws[step]
        other = row - up * is_swapped, column - left * is_swapped
        here, there = pixels[row, column], pixels[other]
        return pixels.at[row, column].set(there).at[other].set(here)

    return gaussian_blur(lax.fori_loop(0, steps, swap, blurred), _GLASS_SIGMA)


def motion_blur(key: Key[Array, ""], image: Image) -> Image:
    """Averages along a line that goes off from each pixel, with weights that fall as half a Gaussian.

    Source: ImageMagick's ``MotionBlurImage``, which MNIST-C calls: places are rounded to whole pixels, and
    those beyond the border are taken from it.
    """
    angle = jnp.deg2rad(jax.random.uniform(key, minval=-_MOTION_ANGLE, maxval=_MOTION_ANGLE))
    steps = np.arange(2 * _MOTION_LENGTH + 1)
    bell = np.exp(-0.5 * (steps / _MOTION_SIGMA) ** 2)
    weights = jnp.asarray(bell / bell.sum(), jnp.float32)
    right, down = (jnp.ceil(steps * part(angle) - 0.5).astype(int) for part in (jnp.cos, jnp.sin))
    height, width = image.shape
    rows, columns = jnp.mgrid[:height, :width]
    taken = image[
        jnp.clip(rows[..., None] + down, 0, height - 1), jnp.clip(columns[..., None] + right, 0, width - 1)
    ]
    return taken @ weights
