"""What is left of a picture are its edges."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Key

from mnist_jax.corruptions.blur import gaussian_blur
from mnist_jax.corruptions.image import Image

Mask = Bool[Array, "height width"]

_SIGMA, _LOW, _HIGH = 1.0, 0.1, 0.2


def canny_edges(key: Key[Array, ""], image: Image) -> Image:
    """Draws the edges that Canny's detector finds (Canny 1986); nothing about it is random.

    Gradients are Sobel's, of the image blurred by one pixel. An edge is where the gradient is larger than on
    both sides along its own direction, at least 0.1, and connected to where it is at least 0.2. The border
    has none.
    """
    share = gaussian_blur(jnp.ones_like(image), _SIGMA, "constant")
    smooth = gaussian_blur(image, _SIGMA, "constant") / share
    down, right = _sobel(smooth), _sobel(smooth.T).T
    magnitude = jnp.hypot(down, right)
    thin = (magnitude >= _LOW) & _is_ridge(magnitude, down, right)
    thin = thin & jnp.pad(jnp.ones([size - 2 for size in image.shape], bool), 1)
    return connected(thin, thin & (magnitude >= _HIGH)).astype(image.dtype)


def connected(mask: Mask, seeds: Mask) -> Mask:
    """Returns those of a mask that are connected to a seed, corners counted."""

    def grow(found: tuple[Array, Array]) -> tuple[Array, Array]:
        now, _ = found
        return lax.reduce_window(now, False, lax.bitwise_or, (3, 3), (1, 1), "SAME") & mask, now

    def grew(found: tuple[Array, Array]) -> Array:
        return jnp.any(found[0] != found[1])

    return lax.while_loop(grew, grow, (seeds, jnp.zeros_like(seeds)))[0]


def _sobel(image: Image) -> Image:
    """The derivative along the rows' index, eight times that of a pixel."""
    padded = jnp.pad(image, 1, mode="symmetric")
    difference = padded[2:] - padded[:-2]
    return difference[:, :-2] + 2 * difference[:, 1:-1] + difference[:, 2:]


def _is_ridge(magnitude: Image, down: Image, right: Image) -> Mask:
    """Whether no gradient a pixel further on along its direction, either way, is larger.

    Between two pixels it is interpolated: along the larger component a whole pixel is gone, along the other a
    share.
    """
    padded = jnp.pad(magnitude, 1)

    def at(row: int, column: int) -> Image:
        height, width = magnitude.shape
        return padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    is_steep = jnp.abs(down) >= jnp.abs(right)
    is_falling = down * right >= 0  # the direction is between right and down
    down, right = jnp.abs(down), jnp.abs(right)
    larger, smaller = jnp.maximum(down, right), jnp.minimum(down, right)
    share = jnp.where(larger > 0, smaller / jnp.where(larger > 0, larger, 1), 0)

    def beyond(way: int) -> Image:
        diagonal = jnp.where(is_falling, at(way, way), jnp.where(is_steep, at(way, -way), at(-way, way)))
        straight = jnp.where(is_steep, at(way, 0), at(0, way))
        return share * diagonal + (1 - share) * straight

    return jnp.asarray((magnitude >= beyond(1)) & (magnitude >= beyond(-1)))
