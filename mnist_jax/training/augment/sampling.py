"""Images at positions between their pixels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

FILL_MODES = ("nearest", "constant")
INTERPOLATION_ORDERS = (0, 1)
METHODS = ("auto", "gather", "matmul")


class _Source(NamedTuple):
    """Where along one axis each result pixel ``[batch, height, width]`` is taken from."""

    index: Any  # int32, the nearest pixel (order 0) or the one before (order 1)
    weight: Array  # share of the pixel after ``index``, for order 1
    inside: Array  # bool, False beyond the centers of the first and last pixel


def resolve_method(method: str, platform: str | None = None) -> str:
    """Turns ``auto`` into the way to read pixels that a platform does best.

    ``gather`` reads each pixel at its place: nothing on a CPU or a GPU, what a TPU does worst. ``matmul``
    multiplies the images by matrices with at most two weights in each row. They agree up to rounding.

    Args:
        method: ``auto``, ``gather`` or ``matmul``.
        platform: ``cpu``, ``gpu`` or ``tpu``; by default JAX's own choice.

    Raises:
        ValueError: For another name.
    """
    if method not in METHODS:
        raise ValueError(f"the method must be one of {', '.join(METHODS)}; got {method!r}")
    if method != "auto":
        return method
    return "matmul" if (platform or jax.default_backend()) == "tpu" else "gather"


def check_sampling(fill_mode: str, order: int) -> None:
    """Makes sure that there are this fill mode and this order of interpolation.

    Raises:
        ValueError: There are not.
    """
    if fill_mode not in FILL_MODES:
        raise ValueError(f"fill_mode must be one of {', '.join(FILL_MODES)}; got {fill_mode!r}")
    if isinstance(order, bool) or order not in INTERPOLATION_ORDERS:
        raise ValueError(f"the interpolation order must be 0 (nearest pixel) or 1 (bilinear); got {order!r}")


def sample(
    images: Float[Array, "batch height width channels"],
    row_shift: Float[Array, "batch height width"],
    column_shift: Float[Array, "batch height width"],
    fill_mode: str,
    cval: ArrayLike,
    order: int,
    method: str,
) -> Float[Array, "batch height width channels"]:
    """Takes each pixel of the result from so many rows and columns further in the source.

    Args:
        images: floating point.
        row_shift: pixels.
        column_shift: pixels.
        fill_mode: ``"nearest"`` or ``"constant"``.
        cval: for ``"constant"``.
        order: 0 for the nearest pixel, 1 for bilinear interpolation.
        method: ``gather`` or ``matmul``, see `resolve_method`.

    Returns:
        The images in their shape and dtype.
    """
    height, width = images.shape[1:3]
    rows = _split(row_shift, jnp.arange(height)[:, None], height, order)
    columns = _split(column_shift, jnp.arange(width)[None, :], width, order)
    sampled = (_by_gathers if method == "gather" else _by_products)(images, rows, columns, order)
    if fill_mode == "constant":
        inside = (rows.inside & columns.inside)[..., None]
        sampled = jnp.where(inside, sampled, jnp.asarray(cval, images.dtype))
    return sampled


def _split(displacement: Array, origin: Array, length: int, order: int) -> _Source:
    """Splits positions ``origin + displacement`` on an axis of ``length`` pixels into index and weight."""
    lowest, highest = -origin, length - 1 - origin
    inside = (displacement >= lowest) & (displacement <= highest)
    displacement = jnp.clip(displacement, lowest, highest)
    whole = jnp.floor(displacement + 0.5) if order == 0 else jnp.floor(displacement)
    return _Source(origin + whole.astype(jnp.int32), displacement - whole, inside)


def _by_gathers(images: Array, rows: _Source, columns: _Source, order: int) -> Array:
    """Picks or blends the pixels at the given positions."""
    # Four gathers of single pixels fuse into one loop with the positions and the blend; gathering the 2x2
    # window at once, or blending by matrix products, was many times slower on a CPU.
    pixels = jax.vmap(lambda image, row, column: image.at[row, column].get(mode="promise_in_bounds"))
    if order == 0:
        return pixels(images, rows.index, columns.index)
    next_row = jnp.minimum(rows.index + 1, images.shape[1] - 1)
    next_column = jnp.minimum(columns.index + 1, images.shape[2] - 1)
    row_weight = rows.weight[..., None]
    column_weight = columns.weight[..., None]
    before, after = (
        (1 - row_weight) * pixels(images, rows.index, column) + row_weight * pixels(images, next_row, column)
        for column in (columns.index, next_column)
    )
    return ((1 - column_weight) * before + column_weight * after).astype(images.dtype)


def _by_products(images: Array, rows: _Source, columns: _Source, order: int) -> Array:
    """As `_by_gathers`, without a gather: each pixel's weights over all rows, then over all columns."""
    batch, height, width, channels = images.shape
    # Rows first, in one product for each image; columns as a sum, for theirs differ from pixel to pixel.
    picked = jnp.einsum(
        "bpr,brcf->bpcf",
        _weights(rows, height, order).reshape(batch, -1, height),
        images.astype(jnp.float32),
        precision=lax.Precision.HIGHEST,
    )
    column_weights = _weights(columns, width, order).reshape(batch, -1, width, 1)
    warped = jnp.sum(picked * column_weights, axis=2)
    return warped.reshape(images.shape).astype(images.dtype)


def _weights(source: _Source, length: int, order: int) -> Array:
    """Share of each of ``length`` pixels in each result pixel: float32 ``[batch, height, width, length]``."""
    away = jnp.arange(length) - source.index[..., None]
    if order == 0:
        return (away == 0).astype(jnp.float32)
    return jnp.maximum(0.0, 1.0 - jnp.abs(away - source.weight[..., None]))
