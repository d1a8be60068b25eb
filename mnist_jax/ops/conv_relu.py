"""A convolution, a bias, ReLU and pooling as one function: what a block is in evaluation."""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mnist_jax.ops import winograd
from mnist_jax.ops.convolution import conv2d, is_for_cpu, resolve_implementation
from mnist_jax.ops.pooling import max_pool2d

# Those of 3x3 pixels of three colors; measured on CPU up to there.
_MOST_SHIFTS = 27


def conv_relu(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels features"],
    bias: Float[Array, " features"],
    pool: bool = False,
    implementation: str = "auto",
    precision: lax.Precision | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolves as `convolution.conv2d` does, adds ``bias``, takes ReLU and, where asked, pools 2x2.

    ReLU of the largest is the largest of ReLU, so pooling comes first and leaves a quarter to do.

    Returns:
        ``[B, P, Q, F]`` in the dtype of the images, halved by pooling.
    """
    implementation = resolve_implementation(implementation)
    if implementation == "gemm" and winograd.is_profitable(images, kernel.astype(images.dtype)):
        return winograd.winograd_conv2d_relu(images, kernel, bias, pool=pool, precision=precision)
    if is_for_cpu(implementation) and kernel[..., 0].size <= _MOST_SHIFTS and images.dtype == kernel.dtype:
        x = _sum_of_shifts(images, kernel)
    else:
        x = conv2d(images, kernel, implementation, precision)
    x = max_pool2d(x, 2, implementation) if pool else x
    return jax.nn.relu(x + bias).astype(images.dtype)


def _sum_of_shifts(images: Array, kernel: Array) -> Array:
    """A shifted image for each number of a patch, times that row of the kernel: one pass over the result.

    A matrix product of so few numbers, the bias and ReLU would be a pass each, and the patches a fourth.
    """
    rows, cols, channels, _ = kernel.shape
    height, width = images.shape[1] - rows + 1, images.shape[2] - cols + 1
    places = itertools.product(range(rows), range(cols), range(channels))
    terms = [images[:, i : i + height, j : j + width, c, None] * kernel[i, j, c] for i, j, c in places]
    return functools.reduce(jnp.add, terms)
