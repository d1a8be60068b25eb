"""Rectangles in images, and Cutout, which erases one.

Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from mnist_jax.training.augment.images import Images


def random_centers(key: jax.Array, shape: tuple[int, ...]) -> Int[Array, "batch 2"]:
    """Draws a pixel, row and column, of each image ``[batch, height, width, ...]``, all alike likely."""
    return jax.random.randint(key, (shape[0], 2), 0, jnp.asarray(shape[1:3]))


def inside_boxes(
    centers: Int[Array, "batch 2"],
    heights: Int[Array, " batch"] | int,
    widths: Int[Array, " batch"] | int,
    shape: tuple[int, ...],
) -> Bool[Array, "batch height width 1"]:
    """Tells which pixels lie in boxes about pixels; what of a box is beyond the border is cut off.

    A box of ``n`` pixels begins ``n // 2`` before its center.
    """

    def along(center: Array, length: Array | int, size: int) -> Array:
        length = jnp.asarray(length).reshape(-1, 1)
        away = jnp.arange(size) - (center[:, None] - length // 2)
        return (away >= 0) & (away < length)

    rows = along(centers[:, 0], heights, shape[1])
    columns = along(centers[:, 1], widths, shape[2])
    return (rows[:, :, None] & columns[:, None, :])[..., None]


@jax.named_scope("augment_batch")
def cut_out(images: Images, centers: Int[Array, "batch 2"], size: int, fill_value: float) -> Images:
    """Erases a square of ``size`` pixels about a pixel of each image."""
    erased = inside_boxes(centers, size, size, images.shape)
    return jnp.where(erased, jnp.asarray(fill_value, images.dtype), images)
