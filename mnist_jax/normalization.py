"""BatchNorm, ReLU and pooling in one piece, with as few passes over memory as they need (floor 0).

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

from mnist_jax.convolution import max_pool2d


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
    def __call__(self, x: Float[Array, "batch *space features"]) -> Float[Array, "batch *out_space features"]:
        """Normalises ``[B, ..., F]``; with ``pool`` the two axes of ``[B, H, W, F]`` are halved."""
        features = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones_init(), features, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), features, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, features, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, features, jnp.float32)
        fused = self.implementation == "gemm" and not self.use_running_average
        if self.use_running_average:
            mean, var = running_mean.value, running_var.value
        elif fused:
            out, mean, var = _fused(x, scale, bias, self.epsilon, self.pool)
        else:
            mean, var = _moments(x)
        if not self.use_running_average and not self.is_initializing():
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            running_var.value = keep * running_var.value + (1 - keep) * var
        if not fused:
            factor = scale * jax.lax.rsqrt(var + self.epsilon)
            out = jax.nn.relu((x - mean) * factor + bias)
            if self.pool:
                out = max_pool2d(out, 2, self.implementation)
        return out.astype(self.dtype)


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
    selected = _pool_selected(x, factor) if pool else x
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
    centred = (selected - mean).astype(jnp.float32)
    gradient = jnp.where(centred * factor + bias > 0, cotangents[0], 0).astype(jnp.float32)
    bias_gradient = jnp.sum(gradient, axes)
    scale_gradient = jnp.sum(gradient * centred, axes) * inverse_sd
    count = x.size // x.shape[-1]
    # d/dx = factor * (gradient - mean of gradient - normalised x * mean of gradient times normalised x)
    slope = -factor * inverse_sd * scale_gradient / count
    offset = -factor * bias_gradient / count - slope * mean
    if pool:
        gradient = _spread(gradient, x, selected)
    return (factor * gradient + (slope * x + offset)).astype(x.dtype), scale_gradient, bias_gradient


def _spread(gradient: Array, x: Array, selected: Array) -> Array:
    """Hands the gradient of each tile to the pixels it was taken from, in equal parts where several tie."""
    batch, height, width, features = selected.shape
    tiles = x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, features)
    ties = sum((tiles[:, :, i, :, j] == selected).astype(jnp.float32) for i in range(2) for j in range(2))
    # Without the barrier XLA would compute each tile's share anew for its four pixels.
    share = jax.lax.optimization_barrier(gradient / ties)
    spread = jnp.where(tiles == selected[:, :, None, :, None], share[:, :, None, :, None], 0)
    spread = spread.reshape(batch, 2 * height, 2 * width, features)
    rest = ((0, 0), (0, x.shape[1] - 2 * height), (0, x.shape[2] - 2 * width), (0, 0))
    return jnp.pad(spread, rest)


_fused.defvjp(_fused_forward, _fused_backward)
