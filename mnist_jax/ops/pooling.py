"""Maximum pooling and its gradient, lowered as each kind of device likes it."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mnist_jax.ops.convolution import is_for_cpu, resolve_implementation


@jax.named_scope("max_pool")
def max_pool2d(
    images: Float[Array, "batch height width channels"], window: int = 2, implementation: str = "auto"
) -> Float[Array, "batch out_height out_width channels"]:
    """Returns the maximum of each tile; rows and columns left over at the end are dropped (Keras' ``valid``).

    Args:
        images: ``[B, H, W, C]``.
        window: side of a tile and stride between tiles, in pixels.
        implementation: as in `convolution.conv2d`; those for a CPU take the maximum of slices
            instead of ``reduce_window``.

    Returns:
        ``[B, H // window, W // window, C]``.
    """
    height, width = images.shape[1] // window, images.shape[2] // window
    if not is_for_cpu(resolve_implementation(implementation)):
        tile = (1, window, window, 1)
        return lax.reduce_window(images, -jnp.inf, lax.max, tile, tile, "VALID")
    tiles = images[:, : height * window, : width * window].reshape(
        images.shape[0], height, window, width, window, images.shape[3]
    )
    slices = [tiles[:, :, i, :, j] for i in range(window) for j in range(window)]
    return functools.reduce(jnp.maximum, slices)


@jax.named_scope("max_pool")
def unpool2d(
    gradient: Float[Array, "batch out_height out_width channels"],
    images: Float[Array, "batch height width channels"],
    pooled: Float[Array, "batch out_height out_width channels"],
    apart: bool,
) -> Float[Array, "batch height width channels"]:
    """Returns each 2x2 tile's gradient to the pixels it was taken from, in equal parts where several tie.

    Args:
        gradient: ``[B, H // 2, W // 2, C]``, of what was taken.
        images: ``[B, H, W, C]``, what was taken from.
        pooled: ``[B, H // 2, W // 2, C]``, the pixel of ``images`` that was taken from each tile.
        apart: whether each tile's share is computed once, in a pass of its own, and not for each pixel.

    Returns:
        ``[B, H, W, C]``; zero in rows and columns left over at the end.
    """
    batch, height, width, features = pooled.shape
    tiles = images[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, features)
    ties = sum((tiles[:, :, i, :, j] == pooled).astype(jnp.float32) for i in range(2) for j in range(2))
    share = gradient / ties
    if apart:
        share = jax.lax.optimization_barrier(share)
    spread = jnp.where(tiles == pooled[:, :, None, :, None], share[:, :, None, :, None], 0)
    spread = spread.reshape(batch, 2 * height, 2 * width, features)
    rest = ((0, 0), (0, images.shape[1] - 2 * height), (0, images.shape[2] - 2 * width), (0, 0))
    return jnp.pad(spread, rest)
