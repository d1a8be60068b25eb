"""Linen blocks that lower well on every device and keep one set of variables."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mnist_jax.ops.batch_norm import batch_norm_relu, conv_batch_norm_relu, moments, normalize
from mnist_jax.ops.conv_relu import conv_relu
from mnist_jax.ops.mixed_precision import matmul
from mnist_jax.ops.pooling import max_pool2d

COMPUTE_DTYPES = ("float32", "tfloat32", "bfloat16")


class BatchNorm(nn.Module):
    """BatchNorm over all axes but the last; variables named and shaped as in ``nn.BatchNorm``.

    A block that computes BatchNorm in one piece with other layers reads ``scale`` and ``bias`` and hands the
    batch's statistics to `update`.
    """

    features: int  # length of the last axis
    # Share of the old value in each update of the running statistics (Keras' meaning).
    momentum: float = 0.99
    epsilon: float = 1e-3  # added to the variance
    dtype: Any = jnp.float32  # of the result; statistics are float32

    def setup(self) -> None:
        """Creates parameters and running statistics, float32 ``[features]``."""
        shape = (self.features,)
        self.scale = self.param("scale", nn.initializers.ones_init(), shape, jnp.float32)
        self.bias = self.param("bias", nn.initializers.zeros_init(), shape, jnp.float32)
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        self.var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)

    def __call__(
        self, x: Float[Array, "batch *space {self.features}"], train: bool = False
    ) -> Float[Array, "batch *space {self.features}"]:
        """Normalizes with the statistics of the batch and updates the running ones, or with those."""
        mean, var = moments(x) if train else (self.mean.value, self.var.value)
        if train:
            self.update(mean, var)
        return normalize(x, mean, var, self.scale, self.bias, self.epsilon).astype(self.dtype)

    def fold(
        self, kernel: Float[Array, "*inputs {self.features}"], bias: Float[Array, " {self.features}"]
    ) -> tuple[Float[Array, "*inputs {self.features}"], Float[Array, " {self.features}"]]:
        """Returns kernel and bias of the layer before that give what this one makes of its results.

        With the running statistics, of which the normalization is one factor and one sum for each feature.
        """
        factor = self.scale * lax.rsqrt(self.var.value + self.epsilon)
        return kernel * factor, (bias - self.mean.value) * factor + self.bias

    def update(self, mean: Float[Array, " {self.features}"], var: Float[Array, " {self.features}"]) -> None:
        """Moves the running statistics toward those of a batch."""
        if not self.is_initializing():
            keep = self.momentum
            self.mean.value = keep * self.mean.value + (1 - keep) * mean
            self.var.value = keep * self.var.value + (1 - keep) * var


class ConvBlock(nn.Module):
    """A convolution, BatchNorm, ReLU and, where asked, 2x2 maximum pooling.

    The convolution has a bias, stride 1 and no padding; its parameters are named as in ``nn.Conv``.
    """

    features: int  # number of output channels
    kernel_size: int = 3  # side of the square kernel, in pixels
    pool: bool = False  # whether pooling follows
    momentum: float = 0.99  # see `BatchNorm`
    epsilon: float = 1e-3  # see `BatchNorm`
    # ``auto``, ``gemm``, ``fused`` or ``lax``: how all this is lowered, never what it computes.
    implementation: str = "auto"
    dtype: Any = jnp.float32  # of the computation; parameters and statistics stay float32
    precision: lax.Precision | None = None  # of the products on devices that have more than one

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch out_height out_width {self.features}"]:
        """Returns ``[B, H - k + 1, W - k + 1, features]``, height and width halved by pooling."""
        shape = (self.kernel_size, self.kernel_size, images.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        norm = BatchNorm(self.features, self.momentum, self.epsilon, name="bn")
        images = images.astype(self.dtype)
        if not train:
            kernel, bias = norm.fold(kernel, bias)
            return conv_relu(images, kernel, bias, self.pool, self.implementation, self.precision)
        x, mean, var = conv_batch_norm_relu(
            images,
            kernel,
            norm.scale,
            norm.bias,
            epsilon=self.epsilon,
            pool=self.pool,
            implementation=self.implementation,
            precision=self.precision,
        )
        # Subtracting the batch's mean cancels the convolution's bias, so it is left out above and gets no
        # gradient. In evaluation it is added, so the running mean is that of the sum.
        norm.update(mean + bias, var)
        return x.astype(self.dtype)


class MaxPool(nn.Module):
    """2x2 maximum pooling; an odd last row or column is left out."""

    implementation: str = "auto"  # see `ConvBlock`

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch out_height out_width features"]:
        """Returns ``[B, H // 2, W // 2, features]``."""
        return max_pool2d(x, 2, self.implementation)


class DenseBlock(nn.Module):
    """A dense layer, BatchNorm and ReLU; the dense layer's parameters are named as in ``nn.Dense``."""

    features: int  # width of the layer
    momentum: float = 0.99  # see `BatchNorm`
    epsilon: float = 1e-3  # see `BatchNorm`
    implementation: str = "auto"  # see `ConvBlock`
    dtype: Any = jnp.float32  # of the computation; parameters and statistics stay float32
    precision: lax.Precision | None = None  # of the product on devices that have more than one

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch inputs"], train: bool = False
    ) -> Float[Array, "batch {self.features}"]:
        """Returns ``[B, features]``."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        norm = BatchNorm(self.features, self.momentum, self.epsilon, name="bn")
        if not train:
            kernel, bias = norm.fold(kernel, bias)
            return nn.relu(matmul(x.astype(self.dtype), kernel, self.precision) + bias).astype(self.dtype)
        x = matmul(x.astype(self.dtype), kernel, self.precision)
        x, mean, var = batch_norm_relu(
            x, norm.scale, norm.bias, epsilon=self.epsilon, implementation=self.implementation
        )
        norm.update(mean + bias, var)  # as in `ConvBlock`
        return x.astype(self.dtype)


def compute_dtype(name: str) -> tuple[Any, lax.Precision]:
    """Returns the dtype of the computation and the precision of its products for one of ``COMPUTE_DTYPES``.

    Raises:
        ValueError: for another name.
    """
    if name not in COMPUTE_DTYPES:
        raise ValueError(f"dtype {name!r} is not known; expected one of {', '.join(COMPUTE_DTYPES)}")
    dtype = jnp.bfloat16 if name == "bfloat16" else jnp.float32
    return dtype, lax.Precision.HIGHEST if name == "float32" else lax.Precision.DEFAULT
