"""Linen layers that lower well on every device and keep one set of parameters."""

from typing import Any, no_type_check

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mnist_jax.ops.convolution import ConvOperands

COMPUTE_DTYPES = ("float32", "tfloat32", "bfloat16")


class Conv(nn.Module):
    """A 2-D convolution with bias, stride 1, no padding; parameters named and shaped as in ``nn.Conv``.

    Attributes:
        features: number of output channels.
        kernel_size: side of the square kernel, in pixels.
        implementation: ``auto``, ``gemm`` or ``lax``: how the sums are lowered, never what they are.
        dtype: of the computation; parameters stay float32.
        precision: of the products on devices that have more than one.
    """

    features: int
    kernel_size: int = 3
    implementation: str = "auto"
    dtype: Any = jnp.float32
    precision: lax.Precision | None = None

    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width {self.features}"]:
        """Returns ``[B, H - k + 1, W - k + 1, features]``."""
        operands = self.operands(images)
        return operands.product() + operands.bias

    @nn.compact
    def operands(self, images: Float[Array, "batch height width channels"]) -> ConvOperands:
        """Returns what the convolution is made from, for a BatchNorm that does it itself."""
        shape = (self.kernel_size, self.kernel_size, images.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        images, kernel, bias = (x.astype(self.dtype) for x in (images, kernel, bias))
        return ConvOperands(images, kernel, bias, self.implementation, self.precision)


# linen's own annotations are such that no check can be made of them.
@no_type_check
class Dense(nn.Dense):
    """linen's dense layer, for a BatchNorm to follow: what training adds to a bias there is taken out again.

    The gradient to the bias is zero then, but computed it is rounding, and Adam makes steps of any gradient.
    """

    def param(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """As linen's, but no gradient reaches the bias."""
        value = super().param(name, *args, **kwargs)
        return lax.stop_gradient(value) if name == "bias" else value


def compute_dtype(name: str) -> tuple[Any, lax.Precision]:
    """Gives the dtype of the computation and the precision of its products for a name of ``COMPUTE_DTYPES``.

    Raises:
        ValueError: for another name.
    """
    if name not in COMPUTE_DTYPES:
        raise ValueError(f"dtype {name!r} is not known; expected one of {', '.join(COMPUTE_DTYPES)}")
    dtype = jnp.bfloat16 if name == "bfloat16" else jnp.float32
    return dtype, lax.Precision.HIGHEST if name == "float32" else lax.Precision.DEFAULT
