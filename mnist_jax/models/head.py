"""The last layer of the networks."""

import flax.linen as nn
from jax import lax

from mnist_jax.ops.mixed_precision import matmul


def make_head(num_classes: int, precision: lax.Precision | None, *, use_bias: bool = True) -> nn.Dense:
    """Returns the last layer: linear, in the dtype of its input, to be called inside a ``compact`` method."""
    return nn.Dense(
        num_classes,
        use_bias,
        kernel_init=nn.initializers.glorot_uniform(),
        # The kernel stays float32 until `matmul` has it.
        promote_dtype=lambda *arrays, **_: list(arrays),
        dot_general=lambda x, kernel, _, precision: matmul(x, kernel, precision),
        precision=precision,
        name="head",
    )
