"""The convolution of each channel with a kernel of its own, as sums of shifted images.

XLA:CPU vectorizes such a sum, and its gradient to the images, which is one too. The gradient to the kernel
sums products over all pixels, which it does one by one. So a few images are added pixel by pixel first, for
which there are vectors again, and a fraction is left to sum.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mnist_jax.ops.compiled_apart import compiled_apart
from mnist_jax.ops.shifts import Sizes, shifts

# Products in one loop, over the places in a kernel and the images that are added: with more, it takes longer
# to compile and is no faster.
_MOST_PRODUCTS = 72


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels"],
    strides: tuple[int, int],
    dilation: tuple[int, int],
) -> Float[Array, "batch out_height out_width channels"]:
    """Cross-correlates each channel of images with its own kernel, without padding.

    Args:
        images: ``[B, H, W, C]``.
        kernel: ``[R, S, C]``.
        strides: see `cpu_lowering.correlate`.
        dilation: see `cpu_lowering.correlate`.

    Returns:
        ``[B, P, Q, C]``, see `cpu_lowering.correlate`.
    """
    return _correlate(images, kernel, strides, dilation)


@functools.partial(compiled_apart, static_argnames=("strides", "dilation"))
def _correlate(images: Array, kernel: Array, strides: Sizes, dilation: Sizes) -> Array:
    rows, cols, channels = kernel.shape
    shifted = shifts(images, (1, rows, cols, 1), (1, *strides, 1), (1, *dilation, 1))
    return functools.reduce(jnp.add, map(jnp.multiply, shifted, kernel.reshape(-1, channels)))


def _forward(
    images: Array, kernel: Array, strides: Sizes, dilation: Sizes
) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(images, kernel, strides, dilation), (images, kernel)


def _backward(
    strides: Sizes, dilation: Sizes, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    images, kernel = residuals
    spread = _spread(gradient, images.shape[1:3], kernel.shape[:2], strides, dilation)
    to_images = _correlate(spread, kernel[::-1, ::-1], (1, 1), dilation)
    to_kernel = _kernel_gradient(images, gradient, kernel.shape[:2], strides, dilation)
    return to_images, to_kernel.astype(kernel.dtype)


depthwise.defvjp(_forward, _backward)


@functools.partial(compiled_apart, static_argnames=("image_size", "kernel_size", "strides", "dilation"))
def _spread(gradient: Array, image_size: Sizes, kernel_size: Sizes, strides: Sizes, dilation: Sizes) -> Array:
    """Puts each number where its window begins, and zeros around, as many as the flipped kernel reaches."""
    edges = []
    for size, image, kernel, step, gap in zip(
        gradient.shape[1:3], image_size, kernel_size, strides, dilation, strict=True
    ):
        edges.append(((kernel - 1) * gap, image - (size - 1) * step - 1, step - 1))
    none = (0, 0, 0)
    return lax.pad(gradient, jnp.zeros((), gradient.dtype), [none, *edges, none])


def _kernel_gradient(
    images: Array, gradient: Array, kernel_size: Sizes, strides: Sizes, dilation: Sizes
) -> Array:
    """Float32 ``[R, S, C]``."""
    partial = _added_images(images, gradient, kernel_size, strides, dilation)
    return jnp.stack([jnp.sum(x, (0, 1, 2)) for x in partial]).reshape(*kernel_size, -1)


@functools.partial(compiled_apart, static_argnames=("kernel_size", "strides", "dilation"))
def _added_images(
    images: Array, gradient: Array, kernel_size: Sizes, strides: Sizes, dilation: Sizes
) -> list[Array]:
    """For each place in the kernel what is left to sum: ``[B / n, P, Q, C]``, n images added."""
    most = max(_MOST_PRODUCTS // math.prod(kernel_size), 2)
    together = max(n for n in range(1, most + 1) if len(images) % n == 0)
    images, gradient = (x.astype(jnp.float32) for x in (images, gradient))
    products: list[list[Array]] = []
    for some, slopes in zip(jnp.split(images, together), jnp.split(gradient, together), strict=True):
        shifted = shifts(some, (1, *kernel_size, 1), (1, *strides, 1), (1, *dilation, 1))
        products.append([x * slopes for x in shifted])
    return [functools.reduce(jnp.add, places) for places in zip(*products, strict=True)]
