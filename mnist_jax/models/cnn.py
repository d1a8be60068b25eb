"""The article's network."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mnist_jax.models.head import make_head
from mnist_jax.models.layers import ConvBlock, DenseBlock, MaxPool, compute_dtype
from mnist_jax.ops.convolution import resolve_implementation

# Of the hidden layer. The article's has half a million; images of 100 pixels would need fifteen.
_MOST_WEIGHTS = 2**24


class CNN(nn.Module):
    """The article's network: convolutions, BatchNorm, ReLU, pooling, a hidden layer and a head.

    With the defaults and 28x28x1 images it has 596,330 trainable parameters and 1,408 BatchNorm statistics.
    Large images are pooled further before the hidden layer, until it has at most 2^24 weights.
    """

    num_classes: int = 10  # width of the last layer
    features: Sequence[int] = (32, 32, 64, 64)  # output channels of each convolution
    kernel_size: int = 3  # side of the kernels, in pixels
    pool_after: Sequence[int] = (1, 3)  # indices of the convolutions that a 2x2 maximum pooling follows
    dense_features: int = 512  # width of the hidden layer
    dropout_rate: float = 0.2  # fraction of the hidden layer that is dropped in training
    # Share of the old value in each update of the running statistics (Keras' meaning).
    batch_norm_momentum: float = 0.99
    batch_norm_epsilon: float = 1e-3  # added to the variance
    # How convolution and pooling are lowered: ``auto``, ``native``, ``gemm``, ``fused`` or ``lax``.
    conv: str = "auto"
    # ``float32``, ``tfloat32`` (float32 kept, products rounded where the device can) or ``bfloat16``.
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch {self.num_classes}"]:
        """Returns logits for images in [0, 1].

        Args:
            images: ``[B, H, W, C]``.
            train: whether BatchNorm uses and updates the statistics of this batch, and dropout is active.

        Returns:
            float32 logits ``[B, num_classes]``.

        Raises:
            ValueError: when the images are too small for the convolutions and poolings, or the dtype is
                unknown.
        """
        dtype, precision = compute_dtype(self.dtype)
        options = {
            "momentum": self.batch_norm_momentum,
            "epsilon": self.batch_norm_epsilon,
            "implementation": resolve_implementation(self.conv),
            "dtype": dtype,
            "precision": precision,
        }
        x = images.astype(dtype)
        for i, features in enumerate(self.features):
            if min(x.shape[1:3]) < self.kernel_size:
                raise ValueError(
                    f"images of {images.shape[1]}x{images.shape[2]} are too small: before conv{i} only "
                    f"{x.shape[1]}x{x.shape[2]} is left, and its kernel needs "
                    f"{self.kernel_size}x{self.kernel_size}"
                )
            pool = i in self.pool_after
            x = ConvBlock(features, self.kernel_size, pool, **options, name=f"conv{i}")(x, train)
        height, width, channels = x.shape[1:]
        for i in range(_num_further_poolings(height, width, channels, self.dense_features)):
            x = MaxPool(options["implementation"], name=f"pool{i}")(x)
        x = x.reshape(x.shape[0], -1)
        if x.shape[1] == 0:
            raise ValueError(
                f"images of {images.shape[1]}x{images.shape[2]} are too small: nothing is left to flatten"
            )
        x = DenseBlock(self.dense_features, **options, name="dense")(x, train)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return make_head(self.num_classes, precision)(x).astype(jnp.float32)


def _num_further_poolings(height: int, width: int, channels: int, dense_features: int) -> int:
    """How often feature maps ``[B, H, W, C]`` are to be halved for the hidden layer to stay in bounds."""
    count = 0
    while height * width * channels * dense_features > _MOST_WEIGHTS and min(height, width) > 1:
        height, width, count = height // 2, width // 2, count + 1
    return count
