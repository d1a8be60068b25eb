"""The convolution as a function, lowered as each kind of device likes it.

``lax`` and ``fused`` hand the work to XLA's own convolution: right on TPU and GPU. On XLA:CPU it is slow
inside a loop body and its gradients are slow everywhere (jax issue 12868), so ``native`` calls functions in
C++. Where there is no compiler for them, and for what they do not do, it is ``gemm``, which writes the same
sums as matrix products with gradients of its own; 3x3 kernels between many channels go to `winograd`. What
follows a convolution differs as well, see `batch_norm.batch_norm_relu`.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mnist_jax.ops import mixed_precision, winograd
from mnist_jax.ops.native.convolution import can_convolve, convolve

ConvImplementation = Literal["auto", "native", "gemm", "fused", "lax"]
CONV_IMPLEMENTATIONS = ("auto", "native", "gemm", "fused", "lax")


def resolve_implementation(implementation: str, platform: str | None = None) -> str:
    """Turns ``auto`` into ``native`` on a CPU, ``fused`` on a GPU and ``lax`` on a TPU.

    The platform is JAX's own choice by default.

    Raises:
        ValueError: for another name.
    """
    if implementation not in CONV_IMPLEMENTATIONS:
        raise ValueError(f"conv is {implementation!r}; expected one of {', '.join(CONV_IMPLEMENTATIONS)}")
    if implementation != "auto":
        return implementation
    return {"cpu": "native", "tpu": "lax"}.get(platform or jax.default_backend(), "fused")


def is_for_cpu(implementation: str) -> bool:
    """Whether a resolved implementation is one of those for a CPU."""
    return implementation in ("native", "gemm")


@jax.named_scope("convolution")
def conv2d(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels features"],
    implementation: str = "auto",
    precision: lax.Precision | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlates images with a kernel: stride 1, no padding (Keras' ``valid``).

    Args:
        images: ``[B, H, W, C]``.
        kernel: ``[R, S, C, F]``, rounded to the dtype of the images.
        implementation: ``auto``, ``native``, ``gemm``, ``fused`` or ``lax``; they agree in value and
            gradient up to rounding.
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
    implementation = resolve_implementation(implementation)
    if not is_for_cpu(implementation):
        return mixed_precision.convolve(images, kernel, precision)
    kernel = kernel.astype(images.dtype)
    if implementation == "native" and can_convolve(images, kernel):
        return convolve(images, kernel)
    if winograd.is_profitable(images, kernel):
        return winograd.winograd_conv2d(images, kernel, precision)
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
    """Puts neighboring rows side by side: ``[B, H, W, C] -> [B, H - R + 1, W, R * C]``."""
    out_height = images.shape[1] - num_rows + 1
    return jnp.concatenate([images[:, i : i + out_height] for i in range(num_rows)], axis=-1)


def _stack_shifted(gradient: Array, num_cols: int) -> Array:
    """Puts the gradient beside itself moved by each kernel column: ``[B, P, Q, F] -> [B, P, W, S * F]``."""
    pads = [(j, num_cols - 1 - j) for j in range(num_cols)]
    return jnp.concatenate([jnp.pad(gradient, ((0, 0), (0, 0), pad, (0, 0))) for pad in pads], axis=-1)


def stack_patches(
    images: Float[Array, "batch height width channels"], num_rows: int, num_cols: int
) -> Float[Array, "batch out_height out_width patch"]:
    """Puts whole patches into the channels: ``[B, H, W, C] -> [B, H - R + 1, W - S + 1, R * S * C]``."""
    height, width = images.shape[1] - num_rows + 1, images.shape[2] - num_cols + 1
    corners = [(i, j) for i in range(num_rows) for j in range(num_cols)]
    return jnp.concatenate([images[:, i : i + height, j : j + width] for i, j in corners], axis=-1)


def _has_small_patches(kernel: Array) -> bool:
    """Whether a patch is no larger than an output pixel: then copying it costs less than partial sums."""
    return kernel.size <= kernel.shape[-1] ** 2


def images_gradient(
    gradient: Float[Array, "batch out_height out_width features"],
    kernel: Float[Array, "rows cols channels features"],
    precision: lax.Precision | None = None,
) -> Float[Array, "batch height width channels"]:
    """The gradient to the images from the one to the result: ``[B, P, Q, F] -> [B, H, W, C]``."""
    return _correlate_back(_stack_shifted(gradient, kernel.shape[1]), kernel, precision)


def _correlate_back(shifted: Array, kernel: Array, precision: lax.Precision | None) -> Array:
    """`images_gradient` from what `_stack_shifted` made."""
    num_rows, num_cols, channels, features = kernel.shape
    flat_kernel = kernel.transpose(1, 3, 0, 2).reshape(num_cols * features, num_rows * channels)
    partial = jnp.matmul(shifted.reshape(-1, num_cols * features), flat_kernel, precision=precision)
    partial = partial.reshape(*shifted.shape[:3], num_rows, channels)
    pads = [(i, num_rows - 1 - i) for i in range(num_rows)]
    return functools.reduce(
        jnp.add, [jnp.pad(partial[:, :, :, i], ((0, 0), pad, (0, 0), (0, 0))) for i, pad in enumerate(pads)]
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d_gemm(images: Array, kernel: Array, precision: lax.Precision | None) -> Array:
    return _conv2d_gemm_forward(images, kernel, precision)[0]


def _conv2d_gemm_forward(
    images: Array, kernel: Array, precision: lax.Precision | None
) -> tuple[Array, tuple]:
    num_rows, num_cols, _, features = kernel.shape
    if _has_small_patches(kernel):
        patches = stack_patches(images, num_rows, num_cols)
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
    to_images = _correlate_back(shifted, kernel, precision)
    if _has_small_patches(kernel):
        flat_patches = stacked.reshape(-1, kernel.size // features)
        product = jnp.matmul(flat_patches.T, gradient.reshape(-1, features), precision=precision)
        return to_images, product.reshape(kernel.shape)
    flat_rows = stacked.reshape(-1, num_rows * channels)
    product = jnp.matmul(flat_rows.T, shifted.reshape(-1, num_cols * features), precision=precision)
    kernel_gradient = product.reshape(num_rows, channels, num_cols, features).transpose(0, 2, 1, 3)
    return to_images, kernel_gradient


_conv2d_gemm.defvjp(_conv2d_gemm_forward, _conv2d_gemm_backward)
