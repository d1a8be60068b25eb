"""Strokes made thicker and thinner, by parts of a pixel."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mnist_jax.training.augment.images import Images


@jax.named_scope("augment_batch")
def change_thickness(images: Images, pixels: Float[Array, " batch"], most: float) -> Images:
    """Dilates (above 0) or erodes (below 0) each image by so many pixels.

    One pixel is the gray dilation or erosion by a cross of 3 x 3 pixels, two pixels the same twice; between
    whole numbers the two results are blended. Bright is ink.

    Args:
        images: floating point.
        pixels: for each image, in ±most.
        most: static.
    """
    signs = jnp.where(pixels < 0, -1.0, 1.0).reshape(-1, 1, 1, 1).astype(images.dtype)
    amount = jnp.abs(pixels).reshape(-1, 1, 1, 1).astype(images.dtype)
    # An erosion is the dilation of the negative.
    thinner, changed = signs * images, jnp.zeros_like(images)
    for done in range(math.ceil(most)):
        thicker = dilate(thinner)
        share = jnp.clip(amount - done, 0.0, 1.0)
        changed = changed + share * (thicker - thinner)
        thinner = thicker
    return images + signs * changed


def dilate(images: Array) -> Array:
    """Returns the largest of each pixel and its four neighbors."""
    height, width = images.shape[1:3]
    beyond = -jnp.inf
    rows = jnp.pad(images, ((0, 0), (1, 1), (0, 0), (0, 0)), constant_values=beyond)
    columns = jnp.pad(images, ((0, 0), (0, 0), (1, 1), (0, 0)), constant_values=beyond)
    vertical = jnp.maximum(rows[:, :height], rows[:, 2:])
    horizontal = jnp.maximum(columns[:, :, :width], columns[:, :, 2:])
    return jnp.maximum(images, jnp.maximum(vertical, horizontal))
