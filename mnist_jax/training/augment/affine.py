"""Random affine warps on the device, with Keras' meaning and ImageDataGenerator's distribution.

A warp asks, for each pixel of the result, where in the source image it comes from. It computes the pixel's
*displacement* rather than its position: that is small, so it keeps more of float32's digits.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from mnist_jax.training.augment.sampling import check_sampling, resolve_method, sample

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
    check_sampling(fill_mode, order)
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
        check_sampling(self.fill_mode, self.interpolation_order)
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
        self,
        key: Key[Array, ""] | Displacements | None,
        images: Images,
        field: Float[Array, "batch 2 height width"] | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """Warps images, in their shape and dtype, as a key says or as was drawn from one.

        A ``field`` tells of each pixel of the result how many rows and columns further yet it comes from.
        """
        images = jnp.asarray(images)
        drawn = self.draw(key, images.shape) if isinstance(key, jax.Array) else key
        if drawn is None and field is None:
            return images
        method = resolve_method(self.method)
        return _warp(
            images, drawn, self.fill_mode, self.fill_value, self.interpolation_order, False, method, field
        )

    def _ranges(self) -> dict[str, float]:
        return {
            "rotation_degrees": self.rotation_degrees,
            "width_shift_fraction": self.width_shift_fraction,
            "height_shift_fraction": self.height_shift_fraction,
            "shear_degrees": self.shear_degrees,
            "zoom_fraction": self.zoom_fraction,
        }


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
    displacements: Displacements | None,
    fill_mode: str,
    cval: ArrayLike,
    order: int,
    swap_center: bool,
    method: str,
    field: Array | None = None,
) -> Array:
    shifts = []
    if displacements is not None:
        shifts.append(_shifts(displacements, images.shape[1:3], swap_center))
    if field is not None:
        shifts.append((field[:, 0], field[:, 1]))
    row_shift, column_shift = (functools.reduce(jnp.add, parts) for parts in zip(*shifts, strict=True))
    return sample(images, row_shift, column_shift, fill_mode, cval, order, method)


def _shifts(displacements: Displacements, size: tuple[int, ...], swap_center: bool) -> tuple[Array, Array]:
    """Returns how many rows and columns from its own place each pixel of the result comes from."""
    height, width = size
    d = Displacements(*(field.reshape(-1, 1, 1) for field in displacements))
    row, column = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    # Column and row of the point that images are turned about.
    center_x, center_y = width / 2 - 0.5, height / 2 - 0.5
    if swap_center:
        center_x, center_y = center_y, center_x
    x, y = column - center_x, row - center_y
    column_shift = d.column_x * x - d.column_y * y + d.column_0
    row_shift = d.row_x * x + d.row_y * y + d.row_0
    return row_shift, column_shift
