"""Random affine warps on the device, with Keras' meaning and ImageDataGenerator's distribution.

A warp asks, for each pixel of the result, where in the source image it comes from. It computes the pixel's
*displacement* rather than its position: that is small, so it keeps more of float32's digits.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

FILL_MODES = ("nearest", "constant")
INTERPOLATION_ORDERS = (0, 1)

Images = Float[Array | np.ndarray, "batch height width channels"]


class AffineParams(NamedTuple):
    """One warp per image, with the names and units of Keras; every field is float ``[batch]``."""

    theta: Array  # rotation, degrees
    tx: Array  # shift along Keras' first matrix axis, pixels
    ty: Array  # shift along Keras' second matrix axis, pixels
    shear: Array  # degrees
    zx: Array  # zoom along Keras' first matrix axis, 1 = none, below 1 enlarges
    zy: Array  # zoom along Keras' second matrix axis


class _Source(NamedTuple):
    """Where along one axis each result pixel ``[batch, height, width]`` is taken from."""

    index: Any  # int32, the nearest pixel (order 0) or the one before (order 1)
    weight: Array  # share of the pixel after ``index``, for order 1
    inside: Array  # bool, False beyond the centers of the first and last pixel


def apply_affine_transform(
    images: Images,
    theta: ArrayLike,
    tx: ArrayLike,
    ty: ArrayLike,
    shear: ArrayLike,
    zx: ArrayLike,
    zy: ArrayLike,
    fill_mode: str = "nearest",
    cval: ArrayLike = 0.0,
    order: int = 1,
    swap_center: bool = True,
) -> Float[Array, "batch height width channels"]:
    """Warps each image as Keras' function of that name does (row_axis=0, col_axis=1, channel_axis=2).

    The matrix is rotation · shift · shear · zoom, from result to source, about the image's center. Keras 3
    reads it as (x, y): ``tx`` and ``zx`` work along the columns, ``ty`` and ``zy`` along the rows. On images
    that are not square it swaps the two center coordinates too (height/2 for columns), and so does this
    unless told otherwise.

    Each image depends on its own parameters only. Positions are good to about 1e-6 pixel: bilinear values
    hardly move, but with order 0, or at the border with fill mode ``constant``, one that close to an edge can
    fall on the other side than in SciPy's float64: a rare one for arbitrary parameters, whole rows at a
    half-turn, where they all lie on edges.

    Args:
        images: Floating point, any scale.
        theta: Rotation in degrees; like all parameters a scalar, or one value per image ``[batch]``.
        tx: Shift in pixels.
        ty: Shift in pixels.
        shear: Shear angle in degrees.
        zx: Zoom factor; 1 is none, below 1 enlarges.
        zy: Zoom factor.
        fill_mode: ``"nearest"`` repeats the edge pixels; ``"constant"`` gives ``cval`` to every position
            beyond the centers of the edge pixels.
        cval: Fill value for ``"constant"``.
        order: 0 for the nearest pixel, 1 for bilinear interpolation.
        swap_center: Keras' center, which on an image that is not square lies beside the image's own.

    Returns:
        The warped images, in the shape and dtype of ``images``.

    Raises:
        ValueError: On an unknown ``fill_mode`` or ``order``, images that are not floating point
            ``[batch, height, width, channels]``, or a parameter of another length than the batch (or,
            off the device, not finite).

    Source:
        ``keras._legacy.preprocessing.image.apply_affine_transform`` (Keras 3.15), which calls
        ``scipy.ndimage.affine_transform``.
    """
    _check_sampling(fill_mode, order)
    images = jnp.asarray(images)
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            "images must be floating point [batch, height, width, channels], "
            f"got {images.dtype}{list(images.shape)}"
        )
    given = {"theta": theta, "tx": tx, "ty": ty, "shear": shear, "zx": zx, "zy": zy}
    params = [_per_image(name, value, images.shape[0]) for name, value in given.items()]
    rows, columns = _locate(params, images.shape[1], images.shape[2], order, swap_center)
    warped = _sample(images, rows, columns, order)
    if fill_mode == "constant":
        inside = (rows.inside & columns.inside)[..., None]
        warped = jnp.where(inside, warped, jnp.asarray(cval, images.dtype))
    return warped


def random_affine_params(
    key: Key[Array, ""],
    batch_size: int,
    image_shape: tuple[int, ...],
    *,
    rotation_degrees: float = 0.0,
    width_shift_fraction: float = 0.0,
    height_shift_fraction: float = 0.0,
    shear_degrees: float = 0.0,
    zoom_fraction: float = 0.0,
) -> AffineParams:
    """Draws one warp per image from the distribution of Keras' ``ImageDataGenerator``.

    All six are uniform and independent: ``theta`` in ±rotation_degrees, ``tx`` in ±width_shift_fraction of
    the width, ``ty`` in ±height_shift_fraction of the height, ``shear`` in ±shear_degrees, ``zx`` and ``zy``
    each in 1 ± zoom_fraction. The width fraction shifts sideways, as Keras documents it and as the Keras of
    the article did; Keras 3 has since mixed up the two axes, which shows only where the two fractions differ.

    Returns:
        Float32 ``[batch_size]`` for each parameter.
    """
    height, width = image_shape[:2]
    centers_and_ranges = {
        "theta": (0.0, rotation_degrees),
        "tx": (0.0, width_shift_fraction * width),
        "ty": (0.0, height_shift_fraction * height),
        "shear": (0.0, shear_degrees),
        "zx": (1.0, zoom_fraction),
        "zy": (1.0, zoom_fraction),
    }
    keys = jax.random.split(key, len(centers_and_ranges))
    draws = {
        name: jax.random.uniform(name_key, (batch_size,), minval=center - spread, maxval=center + spread)
        for name_key, (name, (center, spread)) in zip(keys, centers_and_ranges.items(), strict=True)
    }
    return AffineParams(**draws)


def random_affine(
    key: Key[Array, ""],
    images: Images,
    *,
    fill_mode: str = "nearest",
    fill_value: float = 0.0,
    interpolation_order: int = 1,
    **ranges: float,
) -> Float[Array, "batch height width channels"]:
    """Warps each image by a random rotation, shift, shear and zoom of its own.

    Args:
        key: Typed key; the same key gives the same warps.
        images: Floating point.
        fill_mode: ``"nearest"`` or ``"constant"``.
        fill_value: For ``"constant"``, in the scale of ``images``.
        interpolation_order: 0 (nearest pixel) or 1 (bilinear).
        **ranges: Those of `random_affine_params`, static Python numbers.

    Returns:
        The warped images, in the shape and dtype of ``images``. With every range 0 they are returned
        untouched and nothing is added to the traced program.

    Raises:
        ValueError: On a negative or non-finite range, a zoom of 1 or more (it would mirror the image), and as
            `apply_affine_transform` does.
    """
    _check_sampling(fill_mode, interpolation_order)
    for name, value in ranges.items():
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
        if name == "zoom_fraction" and value >= 1:
            raise ValueError(f"zoom_fraction must be below 1, got {value!r}")
    if not any(ranges.values()):
        return jnp.asarray(images)
    params = random_affine_params(key, images.shape[0], images.shape[1:], **ranges)
    return apply_affine_transform(
        images,
        *params,
        fill_mode=fill_mode,
        cval=fill_value,
        order=interpolation_order,
        swap_center=False,
    )


def _check_sampling(fill_mode: str, order: int) -> None:
    if fill_mode not in FILL_MODES:
        raise ValueError(f"fill_mode must be one of {', '.join(FILL_MODES)}; got {fill_mode!r}")
    if isinstance(order, bool) or order not in INTERPOLATION_ORDERS:
        raise ValueError(f"the interpolation order must be 0 (nearest pixel) or 1 (bilinear); got {order!r}")


def _per_image(name: str, value: ArrayLike, batch_size: int) -> Array:
    """Brings a parameter to float32 ``[batch, 1, 1]``."""
    array = jnp.asarray(value, jnp.float32)
    if array.shape not in ((), (batch_size,)):
        raise ValueError(f"{name} must be a scalar or have shape [{batch_size}], got {list(array.shape)}")
    if not isinstance(value, jax.Array) and not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite, got {value!r}")
    return jnp.broadcast_to(array, (batch_size,)).reshape(-1, 1, 1)


def _locate(
    params: list[Array], height: int, width: int, order: int, swap_center: bool
) -> tuple[_Source, _Source]:
    """Returns the source positions along rows and columns, found as displacements from each result pixel.

    The product of rotation, shear and zoom is written out, with cos(a) - 1 as -2 sin²(a/2), so that nothing
    near 1 or near the size of the image is rounded; without a matrix product no GPU reduces its precision.
    """
    theta, tx, ty, shear, zx, zy = params
    theta, slant = jnp.deg2rad(theta), jnp.deg2rad(theta + shear)
    row, column = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    # Column and row of the point that images are turned about.
    center_x, center_y = width / 2 - 0.5, height / 2 - 0.5
    if swap_center:
        center_x, center_y = center_y, center_x
    x, y = column - center_x, row - center_y
    cos_theta, sin_theta, sin_slant = jnp.cos(theta), jnp.sin(theta), jnp.sin(slant)
    xx_less_1 = -2 * jnp.sin(theta / 2) ** 2 * zx + (zx - 1)
    yy_less_1 = -2 * jnp.sin(slant / 2) ** 2 * zy + (zy - 1)
    column_shift = xx_less_1 * x - sin_slant * zy * y + (cos_theta * tx - sin_theta * ty)
    row_shift = sin_theta * zx * x + yy_less_1 * y + (sin_theta * tx + cos_theta * ty)
    return _split(row_shift, row, height, order), _split(column_shift, column, width, order)


def _split(displacement: Array, origin: Array, length: int, order: int) -> _Source:
    """Splits positions ``origin + displacement`` on an axis of ``length`` pixels into index and weight."""
    lowest, highest = -origin, length - 1 - origin
    inside = (displacement >= lowest) & (displacement <= highest)
    displacement = jnp.clip(displacement, lowest, highest)
    whole = jnp.floor(displacement + 0.5) if order == 0 else jnp.floor(displacement)
    return _Source(origin + whole.astype(jnp.int32), displacement - whole, inside)


def _sample(images: Array, rows: _Source, columns: _Source, order: int) -> Array:
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
