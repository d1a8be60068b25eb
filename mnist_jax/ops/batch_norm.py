"""A convolution with few inputs, BatchNorm, ReLU and pooling in one piece.

The network's first convolution sees 9 pixels and makes 32 values of them, so its result is the largest array
of a training step, and BatchNorm would read it again and again. But mean and variance of a linear map follow
from mean and covariance of what goes in, and so do the sums of BatchNorm's gradient. With patches that are
few numbers each, the scale and the bias of BatchNorm go into the kernel before the one product, and the
gradient to the convolution's result is never written.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mnist_jax.ops.convolution import images_gradient, stack_patches
from mnist_jax.ops.pooling import max_pool2d, unpool2d


def has_few_inputs(kernel: Float[Array, "rows cols channels features"]) -> bool:
    """Whether patches are so much smaller than their share of the result that it pays to work on them."""
    return kernel.size // kernel.shape[-1] <= 2 * kernel.shape[-1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def conv_batch_norm_relu(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels features"],
    scale: Float[Array, " features"],
    bias: Float[Array, " features"],
    epsilon: float,
    pool: bool,
    precision: lax.Precision | None = None,
) -> tuple[
    Float[Array, "batch out_height out_width features"], Float[Array, " features"], Float[Array, " features"]
]:
    """Convolves without padding or bias, normalizes with the statistics of the batch, then ReLU and pooling.

    Args:
        images: ``[B, H, W, C]``.
        kernel: ``[R, S, C, F]``.
        scale: BatchNorm's, float32 ``[F]``.
        bias: BatchNorm's, float32 ``[F]``.
        epsilon: added to the variance.
        pool: whether 2x2 maximum pooling follows.
        precision: of the products on devices that have more than one.

    Returns:
        ``[B, P, Q, F]`` in the dtype of the images, halved by pooling, and mean and variance of the
        convolution's result, float32 ``[F]``, which carry no gradient.
    """
    return _forward(images, kernel, scale, bias, epsilon, pool, precision)[0]


def _forward(
    images: Array,
    kernel: Array,
    scale: Array,
    bias: Array,
    epsilon: float,
    pool: bool,
    precision: lax.Precision | None,
) -> tuple[tuple[Array, Array, Array], tuple]:
    num_rows, num_cols, _, features = kernel.shape
    with jax.named_scope("convolution"):
        patches = stack_patches(images, num_rows, num_cols)
        # A one at the end of each patch: its products with the others are their sums.
        patches = jnp.concatenate([patches, jnp.ones((*patches.shape[:3], 1), patches.dtype)], axis=-1)
    count = patches.size // patches.shape[-1]
    products = _inner_products(patches, patches, precision) / count
    patch_mean, covariance = products[-1, :-1], products[:-1, :-1]
    covariance = covariance - jnp.outer(patch_mean, patch_mean)
    flat_kernel = kernel.reshape(-1, features).astype(jnp.float32)
    # Few numbers, where rounding counts: not left to the precision of the large products.
    mean = jnp.matmul(patch_mean, flat_kernel, precision=lax.Precision.HIGHEST)
    spread = jnp.matmul(covariance, flat_kernel, precision=lax.Precision.HIGHEST)
    var = jnp.maximum(jnp.sum(flat_kernel * spread, axis=0), 0.0)
    inverse_sd = lax.rsqrt(var + epsilon)
    factor = scale * inverse_sd
    weights = jnp.concatenate([flat_kernel * factor, (bias - mean * factor)[None]]).astype(images.dtype)
    with jax.named_scope("convolution"):
        normalized = jnp.matmul(patches, weights, precision=precision)
    pooled = lax.optimization_barrier(max_pool2d(normalized, 2, "gemm")) if pool else normalized
    residuals = (patches, kernel, normalized, pooled, patch_mean, spread, scale, mean, inverse_sd)
    return (jax.nn.relu(pooled), mean, var), residuals


def _backward(
    epsilon: float, pool: bool, precision: lax.Precision | None, residuals: tuple, cotangents: tuple
) -> tuple[Array, Array, Array, Array]:
    """With ``d`` the gradient behind BatchNorm, all sums over pixels follow from patches times ``d``."""
    patches, kernel, normalized, pooled, patch_mean, spread, scale, mean, inverse_sd = residuals
    features = kernel.shape[-1]
    count = patches.size // patches.shape[-1]
    gradient = jnp.where(pooled > 0, cotangents[0], 0)
    if pool:
        gradient = unpool2d(gradient, normalized, pooled).astype(gradient.dtype)
    sums = _inner_products(patches, gradient, precision)
    products, bias_gradient = sums[:-1], sums[-1]
    flat_kernel = kernel.reshape(-1, features).astype(jnp.float32)
    scale_gradient = (jnp.sum(flat_kernel * products, axis=0) - mean * bias_gradient) * inverse_sd
    factor = scale * inverse_sd
    # The gradient to the convolution's result is factor * (d - mean of d - z * mean of d z), z its result
    # normalized; here its products with the patches, and below itself where the images' gradient is used.
    slope = inverse_sd * scale_gradient
    kernel_gradient = factor * (products - jnp.outer(patch_mean, bias_gradient) - spread * slope)
    convolved = jnp.matmul(patches[..., :-1], kernel.reshape(-1, features), precision=precision)
    to_convolved = factor * (gradient - (bias_gradient + (convolved - mean) * slope) / count)
    to_images = images_gradient(to_convolved.astype(patches.dtype), kernel, precision)
    return (
        to_images,
        kernel_gradient.reshape(kernel.shape).astype(kernel.dtype),
        scale_gradient,
        bias_gradient,
    )


def _inner_products(left: Array, right: Array, precision: lax.Precision | None) -> Array:
    """Products of all channels, summed over pixels in float32: ``[..., P] x [..., F] -> [P, F]``."""
    left, right = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    with jax.named_scope("convolution"):
        return jnp.matmul(left.T, right, precision=precision, preferred_element_type=jnp.float32)


conv_batch_norm_relu.defvjp(_forward, _backward)
