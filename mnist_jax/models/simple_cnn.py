"""The three simple networks of An et al. (2020): convolutions without pooling, one dense layer."""

from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array, Float

from mnist_jax.models.head import make_head
from mnist_jax.models.layers import BatchNorm, ConvBlock, compute_dtype
from mnist_jax.ops.convolution import resolve_implementation


class SimpleCNN(nn.Module):
    """Convolutions, each with BatchNorm and ReLU and none padded, then a dense layer with BatchNorm.

    Source: An et al., An Ensemble of Simple Convolutional Neural Network Models for MNIST Digit Recognition,
    arXiv 2008.10400. Theirs have no biases in front of BatchNorm; here the convolutions keep theirs, which
    BatchNorm cancels. Images are rescaled from [0, 1] to [-1, 1] first, as there.
    """

    num_classes: int  # width of the last layer
    features: Sequence[int]  # output channels of each convolution
    kernel_size: int  # side of the kernels, in pixels
    batch_norm_momentum: float = 0.9  # share of the old value in each update of the running statistics
    batch_norm_epsilon: float = 1e-5  # added to the variance
    conv: str = "auto"  # how convolution is lowered: ``auto``, ``native``, ``gemm``, ``fused`` or ``lax``
    dtype: str = "float32"  # ``float32``, ``tfloat32`` or ``bfloat16``

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch {self.num_classes}"]:
        """Returns float32 logits for images in [0, 1], as `CNN` does.

        Raises:
            ValueError: when the images are too small for the convolutions, or the dtype is unknown.
        """
        shrinkage = len(self.features) * (self.kernel_size - 1)
        if min(images.shape[1:3]) <= shrinkage:
            raise ValueError(
                f"images of {images.shape[1]}x{images.shape[2]} are too small: expected at least "
                f"{shrinkage + 1}x{shrinkage + 1} for {len(self.features)} convolutions of "
                f"{self.kernel_size}x{self.kernel_size}"
            )
        dtype, precision = compute_dtype(self.dtype)
        options = {
            "momentum": self.batch_norm_momentum,
            "epsilon": self.batch_norm_epsilon,
            "implementation": resolve_implementation(self.conv),
            "dtype": dtype,
            "precision": precision,
        }
        x = (images * 2.0 - 1.0).astype(dtype)
        for i, features in enumerate(self.features):
            x = ConvBlock(features, self.kernel_size, **options, name=f"conv{i}")(x, train)
        x = x.reshape(x.shape[0], -1)
        x = make_head(self.num_classes, precision, use_bias=False)(x)
        norm = BatchNorm(self.num_classes, self.batch_norm_momentum, self.batch_norm_epsilon, name="bn")
        return norm(x, train)
