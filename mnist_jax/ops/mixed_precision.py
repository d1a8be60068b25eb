"""Convolution and matrix product of bfloat16 images with a float32 kernel.

The kernel is rounded to bfloat16 and multiplied so, but its gradient, a sum over all pixels of all images,
is left in float32. Several devices then add it up in float32 as well: of a kernel that was cast before, JAX
would have them add bfloat16.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_IMAGES_KERNEL_RESULT = ("NHWC", "HWIO", "NHWC")


def convolve(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels features"],
    precision: lax.Precision | None,
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlates, stride 1 and no padding: ``[B, H - R + 1, W - S + 1, F]`` in the images' dtype."""
    return (_convolve if images.dtype == kernel.dtype else _convolve_mixed)(images, kernel, precision)


def _convolve(images: Array, kernel: Array, precision: lax.Precision | None) -> Array:
    return lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=_IMAGES_KERNEL_RESULT, precision=precision
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_mixed(images: Array, kernel: Array, precision: lax.Precision | None) -> Array:
    return _convolve(images, kernel.astype(images.dtype), precision)


def _convolve_forward(
    images: Array, kernel: Array, precision: lax.Precision | None
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve_mixed(images, kernel, precision), (images, kernel)


def _convolve_backward(
    precision: lax.Precision | None, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    images, kernel = residuals
    cast = kernel.astype(images.dtype)
    to_images = jax.linear_transpose(lambda x: _convolve(x, cast, precision), images)(gradient)[0]
    # The images' channels are the batch of this convolution, and the batch its channels.
    to_kernel = lax.conv_general_dilated(
        images,
        gradient,
        (1, 1),
        "VALID",
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        precision=precision,
        preferred_element_type=jnp.float32,
    )
    return to_images, to_kernel.astype(kernel.dtype)


_convolve_mixed.defvjp(_convolve_forward, _convolve_backward)


def matmul(
    x: Float[Array, "batch inputs"], kernel: Float[Array, "inputs features"], precision: lax.Precision | None
) -> Float[Array, "batch features"]:
    """Returns ``[B, F]`` in the dtype of ``x``."""
    if x.dtype == kernel.dtype:
        return jnp.matmul(x, kernel, precision=precision)
    return _matmul_mixed(x, kernel, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _matmul_mixed(x: Array, kernel: Array, precision: lax.Precision | None) -> Array:
    return jnp.matmul(x, kernel.astype(x.dtype), precision=precision)


def _matmul_forward(
    x: Array, kernel: Array, precision: lax.Precision | None
) -> tuple[Array, tuple[Array, Array]]:
    return _matmul_mixed(x, kernel, precision), (x, kernel)


def _matmul_backward(
    precision: lax.Precision | None, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    to_x = jnp.matmul(gradient, kernel.astype(x.dtype).T, precision=precision)
    to_kernel = jnp.matmul(x.T, gradient, precision=precision, preferred_element_type=jnp.float32)
    return to_x, to_kernel.astype(kernel.dtype)


_matmul_mixed.defvjp(_matmul_forward, _matmul_backward)
