"""The convolution as a function, lowered as each kind of device likes it (floor 0).

``lax`` hands the work to XLA's own convolution: right on GPU and TPU. On XLA:CPU that convolution is slow
inside a loop body and its gradients are slow everywhere (jax issue 12868), so ``gemm`` writes the same sums
as matrix products with gradients of its own.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

ConvImplementation = Literal["auto", "gemm", "lax"]
CONV_IMPLEMENTATIONS = ("auto", "gemm", "lax")


def resolve_implementation(implementation: str, platform: str | None = None) -> str:
    """Turns ``auto`` into ``gemm`` on CPU and ``lax`` elsewhere.

    Args:
        implementation: one of ``auto``, ``gemm``, ``lax``.
        platform: ``cpu``, ``gpu`` or ``tpu``; by default JAX's own choice.

    Raises:
        ValueError: for another name.
    """
    if implementation not in CONV_IMPLEMENTATIONS:
        raise ValueError(f"conv is {implementation!r}; expected one of {', '.join(CONV_IMPLEMENTATIONS)}")
    if implementation != "auto":
        return implementation
    return "gemm" if (platform or jax.default_backend()) == "cpu" else "lax"


def conv2d(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels features"],
    implementation: str = "auto",
    precision: lax.Precision | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlates images with a kernel: stride 1, no padding (Keras' ``valid``).

    Args:
        images: ``[B, H, W, C]``.
        kernel: ``[R, S, C, F]``.
        implementation: ``auto``, ``gemm`` or ``lax``; they agree in value and gradient up to rounding.
        precision: of the products on devices that have more than one.

    Returns:
        ``[B, H - R + 1, W - S + 1, F]`` in the dtype of the images.

    Raises:
        ValueError: for an unknown implementation, or when the kernel is larger than the images.
    """
    height, width = images.shape[1:3]
    rows, cols = kernel.shape[:2]
    if rows > height or cols > width:
        raise ValueError(f"a {rows}x{cols} kernel does not fit into {height}x{width} images")
    if resolve_implementation(implementation) == "lax":
        return lax.conv_general_dilated(
            images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=precision
        )
    return _conv2d_gemm(images, kernel, precision)


def _gemm_correlate(rows: Array, kernel: Array, precision: lax.Precision | None) -> Array:
    """One product makes the partial sums of every kernel column at once; shifted adds bring them together.

    Stacking rows alone copies the input less than full patches would, and the wider product runs nearer the
    peak of the processor than one with few outputs. ``rows`` is ``[B, P, W, R * C]`` from `_stack_rows`.
    """
    num_rows, num_cols, channels, features = kernel.shape
    out_width = rows.shape[2] - num_cols + 1
    flat_kernel = kernel.transpose(0, 2, 1, 3).reshape(num_rows * channels, num_cols * features)
    partial = jnp.matmul(rows.reshape(-1, num_rows * channels), flat_kernel, precision=precision)
    partial = partial.reshape(*rows.shape[:3], num_cols, features)
    return functools.reduce(jnp.add, [partial[:, :, j : j + out_width, j] for j in range(num_cols)])


def _stack_rows(images: Array, num_rows: int) -> Array:
    """Puts neighbouring rows side by side: ``[B, H, W, C] -> [B, H - R + 1, W, R * C]``."""
    out_height = images.shape[1] - num_rows + 1
    return jnp.concatenate([images[:, i : i + out_height] for i in range(num_rows)], axis=-1)


def _stack_shifted(gradient: Array, num_cols: int) -> Array:
    """Puts the gradient beside itself moved by each kernel column: ``[B, P, Q, F] -> [B, P, W, S * F]``."""
    pads = [(j, num_cols - 1 - j) for j in range(num_cols)]
    return jnp.concatenate([jnp.pad(gradient, ((0, 0), (0, 0), pad, (0, 0))) for pad in pads], axis=-1)


def _stack_patches(images: Array, num_rows: int, num_cols: int) -> Array:
    """Puts whole patches into the channels: ``[B, H, W, C] -> [B, P, Q, R * S * C]``."""
    height, width = images.shape[1] - num_rows + 1, images.shape[2] - num_cols + 1
    corners = [(i, j) for i in range(num_rows) for j in range(num_cols)]
    return jnp.concatenate([images[:, i : i + height, j : j + width] for i, j in corners], axis=-1)


def _has_small_patches(kernel: Array) -> bool:
    """Whether a patch is no larger than an output pixel: then copying it costs less than partial sums."""
    return kernel.size <= kernel.shape[-1] ** 2


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d_gemm(images: Array, kernel: Array, precision: lax.Precision | None) -> Array:
    return _conv2d_gemm_forward(images, kernel, precision)[0]


def _conv2d_gemm_forward(
    images: Array, kernel: Array, precision: lax.Precision | None
) -> tuple[Array, tuple]:
    num_rows, num_cols, _, features = kernel.shape
    if _has_small_patches(kernel):
        patches = _stack_patches(images, num_rows, num_cols)
        return jnp.matmul(patches, kernel.reshape(-1, features), precision=precision), (patches, kernel)
    rows = _stack_rows(images, num_rows)
    return _gemm_correlate(rows, kernel, precision), (rows, kernel)


def _conv2d_gemm_backward(
    precision: lax.Precision | None, residuals: tuple, gradient: Array
) -> tuple[Array, Array]:
    """Both gradients from one stacked copy of the incoming one, without a multiplication by padding rows."""
    stacked, kernel = residuals
    num_rows, num_cols, channels, features = kernel.shape
    shifted = _stack_shifted(gradient, num_cols)
    flat_shifted = shifted.reshape(-1, num_cols * features)
    flat_kernel = kernel.transpose(1, 3, 0, 2).reshape(num_cols * features, num_rows * channels)
    partial = jnp.matmul(flat_shifted, flat_kernel, precision=precision)
    partial = partial.reshape(*shifted.shape[:3], num_rows, channels)
    pads = [(i, num_rows - 1 - i) for i in range(num_rows)]
    images_gradient = functools.reduce(
        jnp.add, [jnp.pad(partial[:, :, :, i], ((0, 0), pad, (0, 0), (0, 0))) for i, pad in enumerate(pads)]
    )
    if _has_small_patches(kernel):
        flat_patches = stacked.reshape(-1, kernel.size // features)
        product = jnp.matmul(flat_patches.T, gradient.reshape(-1, features), precision=precision)
        return images_gradient, product.reshape(kernel.shape)
    flat_rows = stacked.reshape(-1, num_rows * channels)
    product = jnp.matmul(flat_rows.T, flat_shifted, precision=precision)
    kernel_gradient = product.reshape(num_rows, channels, num_cols, features).transpose(0, 2, 1, 3)
    return images_gradient, kernel_gradient


_conv2d_gemm.defvjp(_conv2d_gemm_forward, _conv2d_gemm_backward)


def max_pool2d(
    images: Float[Array, "batch height width channels"], window: int = 2, implementation: str = "auto"
) -> Float[Array, "batch out_height out_width channels"]:
    """The maximum of each tile; rows and columns left over at the end are dropped (Keras' ``valid``).

    Args:
        images: ``[B, H, W, C]``.
        window: side of a tile and stride between tiles, in pixels.
        implementation: as in :func:`conv2d`; ``gemm`` takes the maximum of slices instead of
            ``reduce_window``.

    Returns:
        ``[B, H // window, W // window, C]``.
    """
    height, width = images.shape[1] // window, images.shape[2] // window
    if resolve_implementation(implementation) == "lax":
        tile = (1, window, window, 1)
        return lax.reduce_window(images, -jnp.inf, lax.max, tile, tile, "VALID")
    tiles = images[:, : height * window, : width * window].reshape(
        images.shape[0], height, window, width, window, images.shape[3]
    )
    slices = [tiles[:, :, i, :, j] for i in range(window) for j in range(window)]
    return functools.reduce(jnp.maximum, slices)
