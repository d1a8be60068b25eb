"""BatchNorm, ReLU and pooling in one piece, with as few passes over memory as they need.

On CPU a training step is limited by memory as much as by arithmetic. Written apart, the three layers and
their gradients read and write the activations about a dozen times; together they read the convolution's
output twice forward (statistics, then the result) and twice backward, and where pooling follows, the backward
sums need only a quarter of the pixels.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mnist_jax.ops.batch_norm import conv_batch_norm_relu, has_few_inputs
from mnist_jax.ops.convolution import ConvOperands
from mnist_jax.ops.pooling import max_pool2d, unpool2d


class BatchNormRelu(nn.Module):
    """BatchNorm over all axes but the last, then ReLU, then, where asked, 2x2 maximum pooling.

    Parameters and statistics are named as in ``nn.BatchNorm``.

    Attributes:
        use_running_average: whether to use the running statistics, as in evaluation, or those of the batch.
        momentum: share of the old value in each update of the running statistics.
        epsilon: added to the variance.
        pool: whether 2x2 maximum pooling follows.
        implementation: ``gemm`` for the fused form, ``lax`` for the layers one after another.
        dtype: of the result; statistics are float32.
    """

    use_running_average: bool
    momentum: float = 0.99
    epsilon: float = 1e-3
    pool: bool = False
    implementation: str = "gemm"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space features"] | ConvOperands
    ) -> Float[Array, "batch *out_space features"]:
        """Normalizes ``[B, ..., F]``; with ``pool`` the two axes of ``[B, H, W, F]`` are halved.

        Where ``x`` is a convolution still to be done, the statistics of a batch are taken without its bias,
        which only moves the mean and is taken away with it: its gradient is zero.
        """
        features = (x.bias if isinstance(x, ConvOperands) else x).shape[-1:]
        scale = self.param("scale", nn.initializers.ones_init(), features, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), features, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, features, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, features, jnp.float32)
        if self.use_running_average:
            if isinstance(x, ConvOperands):
                x = x.product() + x.bias
            return self._normalize(x, running_mean.value, running_var.value, scale, bias)
        offset: Array | float = 0.0
        fused = self.implementation == "gemm"
        if isinstance(x, ConvOperands):
            offset = jax.lax.stop_gradient(x.bias.astype(jnp.float32))
        if fused and isinstance(x, ConvOperands) and has_few_inputs(x.kernel):
            out, mean, var = conv_batch_norm_relu(
                x.images, x.kernel, scale, bias, self.epsilon, self.pool, x.precision
            )
        else:
            product = x.product() if isinstance(x, ConvOperands) else x
            if fused:
                out, mean, var = _fused(product, scale, bias, self.epsilon, self.pool)
            else:
                mean, var = _moments(product)
                out = self._normalize(product, mean, var, scale, bias)
        if not self.is_initializing():
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * (mean + offset)
            running_var.value = keep * running_var.value + (1 - keep) * var
        return out.astype(self.dtype)

    def _normalize(self, x: Array, mean: Array, var: Array, scale: Array, bias: Array) -> Array:
        """The layers one after another."""
        out = jax.nn.relu((x - mean) * (scale * jax.lax.rsqrt(var + self.epsilon)) + bias)
        return (max_pool2d(out, 2, self.implementation) if self.pool else out).astype(self.dtype)


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance of each feature, in float32, from one reading of ``x``."""
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, axes)
    return mean, jnp.maximum(jnp.mean(jnp.square(x), axes) - jnp.square(mean), 0.0)


def _pool_selected(x: Array, factor: Array) -> Array:
    """Of each 2x2 tile the value that is largest once multiplied by ``factor``."""
    return jnp.where(factor >= 0, max_pool2d(x, 2, "gemm"), -max_pool2d(-x, 2, "gemm"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _fused(x: Array, scale: Array, bias: Array, epsilon: float, pool: bool) -> tuple[Array, Array, Array]:
    """Gives the result and the batch's mean and variance; the latter two carry no gradient."""
    return _fused_forward(x, scale, bias, epsilon, pool)[0]


def _fused_forward(
    x: Array, scale: Array, bias: Array, epsilon: float, pool: bool
) -> tuple[tuple[Array, Array, Array], tuple]:
    mean, var = _moments(x)
    factor = scale * jax.lax.rsqrt(var + epsilon)
    # Without the barrier XLA would pool anew for each use.
    selected = jax.lax.optimization_barrier(_pool_selected(x, factor)) if pool else x
    out = jax.nn.relu((selected - mean) * factor + bias)
    return (out, mean, var), (x, selected, scale, bias, mean, var)


def _fused_backward(
    epsilon: float, pool: bool, residuals: tuple, cotangents: tuple
) -> tuple[Array, Array, Array]:
    """BatchNorm's gradient (Ioffe and Szegedy 2015), ReLU's mask and the pooling's choice folded in."""
    x, selected, scale, bias, mean, var = residuals
    axes = tuple(range(x.ndim - 1))
    inverse_sd = jax.lax.rsqrt(var + epsilon)
    factor = scale * inverse_sd
    centered = (selected - mean).astype(jnp.float32)
    gradient = jnp.where(centered * factor + bias > 0, cotangents[0], 0).astype(jnp.float32)
    bias_gradient = jnp.sum(gradient, axes)
    scale_gradient = jnp.sum(gradient * centered, axes) * inverse_sd
    count = x.size // x.shape[-1]
    # d/dx = factor * (gradient - mean of gradient - normalized x * mean of gradient times normalized x)
    slope = -factor * inverse_sd * scale_gradient / count
    offset = -factor * bias_gradient / count - slope * mean
    if pool:
        gradient = unpool2d(gradient, x, selected)
    return (factor * gradient + (slope * x + offset)).astype(x.dtype), scale_gradient, bias_gradient


_fused.defvjp(_fused_forward, _fused_backward)
