"""Random affine warps on the device, with Keras' meaning and ImageDataGenerator's distribution.

A warp asks, for each pixel of the result, where in the source image it comes from. It computes the pixel's
*displacement* rather than its position: that is small, so it keeps more of float32's digits.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

FILL_MODES = ("nearest", "constant")
INTERPOLATION_ORDERS = (0, 1)
METHODS = ("auto", "gather", "matmul")

Images = Float[Array | np.ndarray, "batch height width channels"]


class AffineParams(NamedTuple):
    """One warp per image, with the names and units of Keras; every field is float ``[batch]``."""

    theta: Array  # rotation, degrees
    tx: Array  # shift along Keras' first matrix axis, pixels
    ty: Array  # shift along Keras' second matrix axis, pixels
    shear: Array  # degrees
    zx: Array  # zoom along Keras' first matrix axis, 1 = none, below 1 enlarges
    zy: Array  # zoom along Keras' second matrix axis


class Displacements(NamedTuple):
    """Where each result pixel comes from, less its own place; every field is float32 ``[batch]``.

    With ``x`` and ``y`` the pixel's column and row less those of the center, it comes from ``column_x * x -
    column_y * y + column_0`` columns and ``row_x * x + row_y * y + row_0`` rows further.
    """

    column_x: Array
    column_y: Array
    column_0: Array
    row_x: Array
    row_y: Array
    row_0: Array


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
    method: str = "auto",
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
        method: See `resolve_method`.

    Returns:
        The warped images, in the shape and dtype of ``images``.

    Raises:
        ValueError: On an unknown ``fill_mode``, ``order`` or ``method``, images that are not floating point
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
    displacements = _displacements(AffineParams(*params))
    return _warp(images, displacements, fill_mode, cval, order, swap_center, resolve_method(method))


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


@dataclass(frozen=True)
class RandomAffine:
    """Warps each image by a random rotation, shift, shear and zoom of its own: ``(key, images) -> images``.

    The same key gives the same warps. What is drawn does not depend on the images, so it may be drawn before,
    for many batches at once. With every range 0, images and program are left untouched.

    Attributes:
        rotation_degrees: See `random_affine_params`, as for the next four; all are static Python numbers.
        width_shift_fraction: Fraction of the width.
        height_shift_fraction: Fraction of the height.
        shear_degrees: Degrees.
        zoom_fraction: Fraction, below 1.
        fill_mode: ``"nearest"`` or ``"constant"``.
        fill_value: For ``"constant"``, in the scale of the images.
        interpolation_order: 0 (nearest pixel) or 1 (bilinear).
        method: See `resolve_method`.

    Raises:
        ValueError: On a negative or non-finite range, a zoom of 1 or more (it would mirror the image), and as
            `apply_affine_transform` does.
    """

    rotation_degrees: float
    width_shift_fraction: float
    height_shift_fraction: float
    shear_degrees: float
    zoom_fraction: float
    fill_mode: str = "nearest"
    fill_value: float = 0.0
    interpolation_order: int = 1
    method: str = "auto"

    def __post_init__(self) -> None:
        """Checks the settings."""
        _check_sampling(self.fill_mode, self.interpolation_order)
        resolve_method(self.method)
        for name, value in self._ranges().items():
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
        if self.zoom_fraction >= 1:
            raise ValueError(f"zoom_fraction must be below 1, got {self.zoom_fraction!r}")

    @jax.named_scope("augment_batch")
    def draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Displacements | None:
        """Draws a batch's warps, for images of ``shape`` [B, H, W, C]; None with every range 0."""
        ranges = self._ranges()
        if not any(ranges.values()):
            return None
        return _displacements(random_affine_params(key, shape[0], shape[1:], **ranges))

    def __call__(
        self, key: Key[Array, ""] | Displacements | None, images: Images
    ) -> Float[Array, "batch height width channels"]:
        """Warps images, in their shape and dtype, as a key says or as was drawn from one."""
        images = jnp.asarray(images)
        drawn = self.draw(key, images.shape) if isinstance(key, jax.Array) else key
        if drawn is None:
            return images
        method = resolve_method(self.method)
        return _warp(images, drawn, self.fill_mode, self.fill_value, self.interpolation_order, False, method)

    def _ranges(self) -> dict[str, float]:
        return {
            "rotation_degrees": self.rotation_degrees,
            "width_shift_fraction": self.width_shift_fraction,
            "height_shift_fraction": self.height_shift_fraction,
            "shear_degrees": self.shear_degrees,
            "zoom_fraction": self.zoom_fraction,
        }


def _check_sampling(fill_mode: str, order: int) -> None:
    if fill_mode not in FILL_MODES:
        raise ValueError(f"fill_mode must be one of {', '.join(FILL_MODES)}; got {fill_mode!r}")
    if isinstance(order, bool) or order not in INTERPOLATION_ORDERS:
        raise ValueError(f"the interpolation order must be 0 (nearest pixel) or 1 (bilinear); got {order!r}")


def _per_image(name: str, value: ArrayLike, batch_size: int) -> Array:
    """Brings a parameter to float32 ``[batch]``."""
    array = jnp.asarray(value, jnp.float32)
    if array.shape not in ((), (batch_size,)):
        raise ValueError(f"{name} must be a scalar or have shape [{batch_size}], got {list(array.shape)}")
    if not isinstance(value, jax.Array) and not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite, got {value!r}")
    return jnp.broadcast_to(array, (batch_size,))


def _displacements(params: AffineParams) -> Displacements:
    """Multiplies rotation, shift, shear and zoom out.

    With cos(a) - 1 as -2 sin²(a/2), nothing near 1 or near the size of the image is rounded; without a matrix
    product no GPU reduces its precision.
    """
    theta, tx, ty, shear, zx, zy = params
    theta, slant = jnp.deg2rad(theta), jnp.deg2rad(theta + shear)
    cos_theta, sin_theta = jnp.cos(theta), jnp.sin(theta)
    return Displacements(
        column_x=-2 * jnp.sin(theta / 2) ** 2 * zx + (zx - 1),
        column_y=jnp.sin(slant) * zy,
        column_0=cos_theta * tx - sin_theta * ty,
        row_x=sin_theta * zx,
        row_y=-2 * jnp.sin(slant / 2) ** 2 * zy + (zy - 1),
        row_0=sin_theta * tx + cos_theta * ty,
    )


@jax.named_scope("augment_batch")
def _warp(
    images: Array,
    displacements: Displacements,
    fill_mode: str,
    cval: ArrayLike,
    order: int,
    swap_center: bool,
    method: str,
) -> Array:
    height, width = images.shape[1:3]
    rows, columns = _locate(displacements, height, width, order, swap_center)
    warped = (_sample if method == "gather" else _sample_by_products)(images, rows, columns, order)
    if fill_mode == "constant":
        inside = (rows.inside & columns.inside)[..., None]
        warped = jnp.where(inside, warped, jnp.asarray(cval, images.dtype))
    return warped


def _locate(
    displacements: Displacements, height: int, width: int, order: int, swap_center: bool
) -> tuple[_Source, _Source]:
    """Returns the source positions along rows and columns."""
    d = Displacements(*(field.reshape(-1, 1, 1) for field in displacements))
    row, column = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    # Column and row of the point that images are turned about.
    center_x, center_y = width / 2 - 0.5, height / 2 - 0.5
    if swap_center:
        center_x, center_y = center_y, center_x
    x, y = column - center_x, row - center_y
    column_shift = d.column_x * x - d.column_y * y + d.column_0
    row_shift = d.row_x * x + d.row_y * y + d.row_0
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


def _sample_by_products(images: Array, rows: _Source, columns: _Source, order: int) -> Array:
    """As `_sample`, without a gather: each pixel's weights over all rows, then over all columns."""
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
