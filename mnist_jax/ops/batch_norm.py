"""BatchNorm, ReLU and pooling, and the convolution before them, in as few passes over memory as they need.

On CPU a training step is limited by memory as much as by arithmetic. Layer by layer, BatchNorm, ReLU, pooling
and their gradients read and write the activations about a dozen times. In one piece they read the
convolution's output twice forward (statistics, then the result) and twice backward, and where pooling
follows, the backward sums need only a quarter of the pixels.

The network's first convolution goes further: it sees 9 pixels and makes 32 values of them, so its result is
the largest array of a training step. Mean and variance of a linear map follow from mean and covariance of its
input, and so do the sums of BatchNorm's gradient. With patches of few numbers, BatchNorm's scale and bias go
into the kernel before the one product, and the gradient to the convolution's result is never written. Where
a CPU's convolutions are in C++, which copy no patches, all that takes longer than it saves.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mnist_jax.ops.compiled_apart import compiled_apart
from mnist_jax.ops.convolution import (
    conv2d,
    images_gradient,
    is_for_cpu,
    resolve_implementation,
    stack_patches,
)
from mnist_jax.ops.native.convolution import can_convolve
from mnist_jax.ops.pooling import max_pool2d, unpool2d
from mnist_jax.ops.shared_batch import mean_over_devices

Features = Float[Array, " features"]


def moments(x: Float[Array, "batch *space features"]) -> tuple[Features, Features]:
    """Returns mean and variance of each feature, float32 ``[F]``, from one reading of ``x``."""
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.float32)
    mean, square = mean_over_devices(jnp.mean(x, axes), jnp.mean(jnp.square(x), axes))
    return mean, jnp.maximum(square - jnp.square(mean), 0.0)


def normalize(
    x: Float[Array, "batch *space features"],
    mean: Features,
    var: Features,
    scale: Features,
    bias: Features,
    epsilon: float,
) -> Float[Array, "batch *space features"]:
    """Returns ``(x - mean) / sqrt(var + epsilon) * scale + bias`` in float32."""
    return (x - mean) * (scale * lax.rsqrt(var + epsilon)) + bias


def batch_norm_relu(
    x: Float[Array, "batch *space features"],
    scale: Features,
    bias: Features,
    *,
    epsilon: float,
    pool: bool = False,
    implementation: str = "auto",
) -> tuple[Float[Array, "batch *out_space features"], Features, Features]:
    """Normalizes with the statistics of the batch, then ReLU and, where asked, 2x2 maximum pooling.

    With ``pool``, ``x`` is ``[B, H, W, F]``. Of the implementations (`convolution.conv2d`) those for a CPU
    write once what several passes need, ``fused`` lets each compute it anew, which takes fewer kernels on a
    GPU, and ``lax`` is layer by layer, for which XLA estimates a TPU's fewest cycles; same values and
    gradients up to rounding.

    Returns:
        the result, and mean and variance of ``x``, float32 ``[F]``, which carry no gradient.
    """
    implementation = resolve_implementation(implementation)
    if implementation != "lax":
        return _fused(x, scale, bias, epsilon, pool, is_for_cpu(implementation))
    mean, var = moments(x)
    out = jax.nn.relu(normalize(x, mean, var, scale, bias, epsilon))
    mean, var = lax.stop_gradient((mean, var))
    return max_pool2d(out, 2, implementation) if pool else out, mean, var


def conv_batch_norm_relu(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels features"],
    scale: Features,
    bias: Features,
    *,
    epsilon: float,
    pool: bool = False,
    implementation: str = "auto",
    precision: lax.Precision | None = None,
) -> tuple[Float[Array, "batch out_height out_width features"], Features, Features]:
    """Convolves as `convolution.conv2d` does, then as `batch_norm_relu`; takes the arguments of both.

    Returns:
        ``[B, P, Q, F]``, halved by pooling, and mean and variance of the convolution's result, float32
        ``[F]``, which carry no gradient.
    """
    implementation = resolve_implementation(implementation)
    rounded, apart = kernel.astype(images.dtype), is_for_cpu(implementation)
    in_cpp = implementation == "native" and can_convolve(images, rounded)
    if implementation != "lax" and has_few_inputs(kernel) and not in_cpp:
        return _conv_fused(images, rounded, scale, bias, epsilon, pool, precision, apart)
    convolved = conv2d(images, kernel, implementation, precision)
    return batch_norm_relu(convolved, scale, bias, epsilon=epsilon, pool=pool, implementation=implementation)


def has_few_inputs(kernel: Float[Array, "rows cols channels features"]) -> bool:
    """Whether patches are so much smaller than their share of the result that working on them is faster."""
    return kernel.size // kernel.shape[-1] <= 2 * kernel.shape[-1]


def _sums_by_image(*arrays: Array) -> Array:
    """Sums over all axes but the last, those of several arrays in one kernel: ``[arrays, F]``."""
    by_image = [jnp.sum(array, tuple(range(1, array.ndim - 1))) for array in arrays]
    return jnp.sum(jnp.stack(by_image), axis=1)


def _moments_by_image(x: Array) -> tuple[Array, Array]:
    """As `moments`."""
    x = x.astype(jnp.float32)
    mean, square = mean_over_devices(*_sums_by_image(x, jnp.square(x)) / (x.size // x.shape[-1]))
    return mean, jnp.maximum(square - jnp.square(mean), 0.0)


def _pool(x: Array) -> Array:
    return max_pool2d(x, 2, "gemm")


def _pool_selected(x: Array, factor: Array) -> Array:
    """Of each 2x2 tile the value that is largest once multiplied by ``factor``."""
    return jnp.where(factor >= 0, _pool(x), -_pool(-x))


_pool_apart = compiled_apart(_pool)
_pool_selected_apart = compiled_apart(_pool_selected)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _fused(
    x: Array, scale: Array, bias: Array, epsilon: float, pool: bool, apart: bool
) -> tuple[Array, Array, Array]:
    """`batch_norm_relu` in one piece."""
    return _fused_forward(x, scale, bias, epsilon, pool, apart)[0]


def _fused_forward(
    x: Array, scale: Array, bias: Array, epsilon: float, pool: bool, apart: bool
) -> tuple[tuple[Array, Array, Array], tuple]:
    mean, var = moments(x) if apart else _moments_by_image(x)
    factor = scale * lax.rsqrt(var + epsilon)
    selected = (_pool_selected_apart if apart else _pool_selected)(x, factor) if pool else x
    out = jax.nn.relu((selected - mean) * factor + bias)
    return (out, mean, var), (x, selected, scale, bias, mean, var)


def _fused_backward(
    epsilon: float, pool: bool, apart: bool, residuals: tuple, cotangents: tuple
) -> tuple[Array, Array, Array]:
    """BatchNorm's gradient (Ioffe and Szegedy 2015), ReLU's mask and the pooling's choice folded in."""
    x, selected, scale, bias, mean, var = residuals
    axes = tuple(range(x.ndim - 1))
    inverse_sd = lax.rsqrt(var + epsilon)
    factor = scale * inverse_sd
    centered = (selected - mean).astype(jnp.float32)
    gradient = jnp.where(centered * factor + bias > 0, cotangents[0], 0).astype(jnp.float32)
    if apart:
        bias_gradient, scale_gradient = jnp.sum(gradient, axes), jnp.sum(gradient * centered, axes)
    else:
        bias_gradient, scale_gradient = _sums_by_image(gradient, gradient * centered)
    scale_gradient = scale_gradient * inverse_sd
    count = x.size // x.shape[-1]
    # Returned are those of this device's rows, as all gradients to parameters: they are summed together.
    bias_mean, scale_mean = mean_over_devices(bias_gradient, scale_gradient)
    # d/dx = factor * (gradient - mean of gradient - normalized x * mean of gradient times normalized x)
    slope = -factor * inverse_sd * scale_mean / count
    offset = -factor * bias_mean / count - slope * mean
    if pool:
        gradient = unpool2d(gradient, x, selected, apart)
    return (factor * gradient + (slope * x + offset)).astype(x.dtype), scale_gradient, bias_gradient


_fused.defvjp(_fused_forward, _fused_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6, 7))
def _conv_fused(
    images: Array,
    kernel: Array,
    scale: Array,
    bias: Array,
    epsilon: float,
    pool: bool,
    precision: lax.Precision | None,
    apart: bool,
) -> tuple[Array, Array, Array]:
    """`conv_batch_norm_relu` in one piece, for patches of few numbers."""
    return _conv_fused_forward(images, kernel, scale, bias, epsilon, pool, precision, apart)[0]


def _conv_fused_forward(
    images: Array,
    kernel: Array,
    scale: Array,
    bias: Array,
    epsilon: float,
    pool: bool,
    precision: lax.Precision | None,
    apart: bool,
) -> tuple[tuple[Array, Array, Array], tuple]:
    num_rows, num_cols, _, features = kernel.shape
    with jax.named_scope("convolution"):
        patches = stack_patches(images, num_rows, num_cols)
        # A one at the end of each patch: its products with the others are their sums.
        patches = jnp.concatenate([patches, jnp.ones((*patches.shape[:3], 1), patches.dtype)], axis=-1)
    count = patches.size // patches.shape[-1]
    (products,) = mean_over_devices(_inner_products(patches, patches, precision, apart) / count)
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
    pooled = normalized
    if pool:
        pooled = _pool_apart(normalized) if apart else lax.optimization_barrier(_pool(normalized))
    out = jax.nn.relu(pooled)
    # Without pooling only the signs are used again, and those are the result's: a product that ends in ReLU.
    kept = (normalized, pooled) if pool else (None, out)
    return (out, mean, var), (patches, kernel, *kept, patch_mean, spread, scale, mean, inverse_sd)


def _conv_fused_backward(
    epsilon: float,
    pool: bool,
    precision: lax.Precision | None,
    apart: bool,
    residuals: tuple,
    cotangents: tuple,
) -> tuple[Array, Array, Array, Array]:
    """With ``d`` the gradient behind BatchNorm, all sums over pixels follow from patches times ``d``."""
    patches, kernel, normalized, pooled, patch_mean, spread, scale, mean, inverse_sd = residuals
    features = kernel.shape[-1]
    count = patches.size // patches.shape[-1]
    gradient = jnp.where(pooled > 0, cotangents[0], 0)
    if pool:
        gradient = unpool2d(gradient, normalized, pooled, True).astype(gradient.dtype)
    sums = _inner_products(patches, gradient, precision, apart)
    products, bias_gradient = sums[:-1], sums[-1]
    flat_kernel = kernel.reshape(-1, features).astype(jnp.float32)
    scale_gradient = (jnp.sum(flat_kernel * products, axis=0) - mean * bias_gradient) * inverse_sd
    factor = scale * inverse_sd
    # The gradient to the convolution's result is factor * (d - mean of d - z * mean of d z), z its result
    # normalized; here its products with the patches, and below itself where the images' gradient is used.
    slope = inverse_sd * scale_gradient
    bias_mean, slope_mean = mean_over_devices(bias_gradient, slope)
    kernel_gradient = factor * (products - jnp.outer(patch_mean, bias_gradient) - spread * slope)
    convolved = jnp.matmul(patches[..., :-1], kernel.reshape(-1, features), precision=precision)
    to_convolved = factor * (gradient - (bias_mean + (convolved - mean) * slope_mean) / count)
    to_images = images_gradient(to_convolved.astype(patches.dtype), kernel, precision)
    return (
        to_images,
        kernel_gradient.reshape(kernel.shape).astype(kernel.dtype),
        scale_gradient,
        bias_gradient,
    )


def _inner_products(left: Array, right: Array, precision: lax.Precision | None, apart: bool) -> Array:
    """Products of all channels, summed over pixels in float32: ``[..., P] x [..., F] -> [P, F]``.

    Where it is no kernel ``apart``, first within each image, which keeps more of a GPU busy.
    """
    image = (1, -1) if apart else (left.shape[0], -1)
    left, right = left.reshape(*image, left.shape[-1]), right.reshape(*image, right.shape[-1])
    with jax.named_scope("convolution"):
        if apart:
            return jnp.matmul(left[0].T, right[0], precision=precision, preferred_element_type=jnp.float32)
        products = jnp.matmul(left.mT, right, precision=precision, preferred_element_type=jnp.float32)
        return jnp.sum(products, axis=0)


_conv_fused.defvjp(_conv_fused_forward, _conv_fused_backward)
