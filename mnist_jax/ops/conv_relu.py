"""A convolution, a bias, ReLU and pooling as one function: what a block is in evaluation."""

import jax
from jax import lax
from jaxtyping import Array, Float

from mnist_jax.ops import winograd
from mnist_jax.ops.convolution import conv2d, resolve_implementation
from mnist_jax.ops.pooling import max_pool2d


def conv_relu(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels features"],
    bias: Float[Array, " features"],
    *,
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
    x = conv2d(images, kernel, implementation, precision)
    x = max_pool2d(x, 2, implementation) if pool else x
    return jax.nn.relu(x + bias).astype(images.dtype)
