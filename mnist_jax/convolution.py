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


def _stack_columns(images: Array, cols: int) -> Array:
    """Puts neighbouring columns side by side: ``[B, H, W, C] -> [B, H, W - cols + 1, cols * C]``."""
    out_width = images.shape[2] - cols + 1
    return jnp.concatenate([images[:, :, j : j + out_width] for j in range(cols)], axis=-1)


def _correlate_stacked(stacked: Array, kernel: Array, precision: lax.Precision | None) -> Array:
    """One product makes the partial sums of every kernel row at once; shifted adds bring them together.

    Stacking columns alone copies the input R times less than full patches do, and the R-fold wider product
    runs nearer the peak of the processor than one with few outputs.
    """
    rows, cols, channels, features = kernel.shape
    batch, height, out_width, _ = stacked.shape
    out_height = height - rows + 1
    flat_kernel = kernel.transpose(1, 2, 0, 3).reshape(cols * channels, rows * features)
    partial = jnp.matmul(stacked.reshape(-1, cols * channels), flat_kernel, precision=precision)
    partial = partial.reshape(batch, height, out_width, rows, features)
    return functools.reduce(jnp.add, [partial[:, i : i + out_height, :, i] for i in range(rows)])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d_gemm(images: Array, kernel: Array, precision: lax.Precision | None) -> Array:
    return _correlate_stacked(_stack_columns(images, kernel.shape[1]), kernel, precision)


def _conv2d_gemm_forward(
    images: Array, kernel: Array, precision: lax.Precision | None
) -> tuple[Array, tuple]:
    stacked = _stack_columns(images, kernel.shape[1])
    return _correlate_stacked(stacked, kernel, precision), (stacked, kernel)


def _conv2d_gemm_backward(
    precision: lax.Precision | None, residuals: tuple, gradient: Array
) -> tuple[Array, Array]:
    stacked, kernel = residuals
    rows, cols, channels, features = kernel.shape
    padded = jnp.pad(gradient, ((0, 0), (rows - 1, rows - 1), (cols - 1, cols - 1), (0, 0)))
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    images_gradient = _correlate_stacked(_stack_columns(padded, cols), flipped, precision)
    # The kernel's gradient: the same stacked columns against the gradient shifted by each kernel row, one
    # product over all pixels.
    spare = [(i, rows - 1 - i) for i in range(rows)]
    shifted = jnp.concatenate([jnp.pad(gradient, ((0, 0), pad, (0, 0), (0, 0))) for pad in spare], axis=-1)
    product = jnp.matmul(
        stacked.reshape(-1, cols * channels).T, shifted.reshape(-1, rows * features), precision=precision
    )
    kernel_gradient = product.reshape(cols, channels, rows, features).transpose(2, 0, 1, 3)
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
