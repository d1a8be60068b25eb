"""The networks, chosen by name."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mnist_jax.models.layers import Conv, Dense, compute_dtype
from mnist_jax.models.normalization import BatchNormRelu
from mnist_jax.models.simple_cnn import SIMPLE_MODELS
from mnist_jax.ops.convolution import ConvOperands, resolve_implementation


class CNN(nn.Module):
    """The article's network: convolutions, BatchNorm, ReLU, pooling, a hidden layer and a head.

    With the defaults and 28x28x1 images it has 596,330 trainable parameters and 1,408 BatchNorm statistics.

    Attributes:
        num_classes: width of the last layer.
        features: output channels of each convolution.
        kernel_size: side of the kernels, in pixels.
        pool_after: indices of the convolutions that a 2x2 maximum pooling follows.
        dense_features: width of the hidden layer.
        dropout_rate: fraction of the hidden layer that is dropped in training.
        batch_norm_momentum: share of the old value in each update of the running statistics (Keras' meaning).
        batch_norm_epsilon: added to the variance.
        conv: how convolution and pooling are lowered: ``auto``, ``gemm`` or ``lax``.
        dtype: ``float32``, ``tfloat32`` (float32 kept, products rounded where the device can) or
            ``bfloat16``.
    """

    num_classes: int = 10
    features: Sequence[int] = (32, 32, 64, 64)
    kernel_size: int = 3
    pool_after: Sequence[int] = (1, 3)
    dense_features: int = 512
    dropout_rate: float = 0.2
    batch_norm_momentum: float = 0.99
    batch_norm_epsilon: float = 1e-3
    conv: str = "auto"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch {self.num_classes}"]:
        """Gives logits for images in [0, 1].

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
        implementation = resolve_implementation(self.conv)

        def normalize(x: Array | ConvOperands, index: int, pool: bool = False) -> Array:
            return BatchNormRelu(
                use_running_average=not train,
                momentum=self.batch_norm_momentum,
                epsilon=self.batch_norm_epsilon,
                pool=pool,
                implementation=implementation,
                dtype=dtype,
                name=f"bn{index}",
            )(x)

        x = images.astype(dtype)
        for i, features in enumerate(self.features):
            if min(x.shape[1:3]) < self.kernel_size:
                raise ValueError(
                    f"images of {images.shape[1]}x{images.shape[2]} are too small: before conv{i} only "
                    f"{x.shape[1]}x{x.shape[2]} is left, and its kernel needs "
                    f"{self.kernel_size}x{self.kernel_size}"
                )
            conv = Conv(features, self.kernel_size, implementation, dtype, precision, name=f"conv{i}")
            # In training BatchNorm does the convolution: it knows what of it cancels out.
            x = normalize(conv.operands(x) if train else conv(x), i, pool=i in self.pool_after)
        x = x.reshape(x.shape[0], -1)
        if x.shape[1] == 0:
            raise ValueError(
                f"images of {images.shape[1]}x{images.shape[2]} are too small: nothing is left to flatten"
            )
        glorot = nn.initializers.glorot_uniform()
        x = Dense(self.dense_features, kernel_init=glorot, dtype=dtype, precision=precision, name="dense")(x)
        x = normalize(x, len(self.features))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        x = nn.Dense(self.num_classes, kernel_init=glorot, dtype=dtype, precision=precision, name="head")(x)
        return x.astype(jnp.float32)


MODELS: dict[str, Callable[..., nn.Module]] = {"cnn": CNN, **SIMPLE_MODELS}


def create_model(name: str, num_classes: int, **fields: Any) -> nn.Module:
    """Builds a network by name.

    Args:
        name: a key of ``MODELS``.
        num_classes: width of the last layer.
        **fields: the network's own fields, see its class; ``simple_*`` have sizes of their own.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is not known; expected one of {', '.join(MODELS)}")
    return MODELS[name](num_classes=num_classes, **fields)


def count_parameters(tree: PyTree) -> int:
    """Counts the numbers in all arrays of a pytree."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def summarize_layers(
    model: nn.Module, image_shape: Sequence[int]
) -> list[tuple[str, str, tuple[int | None, ...], int]]:
    """Lists the layers of a model in the order they are called, without computing anything.

    Args:
        model: called as ``model(images, train=...)``.
        image_shape: ``(height, width, channels)``.

    Returns:
        for each layer its name, its type, its output shape (None for the batch) and its number of parameters,
        statistics included.
    """
    calls: list[tuple[str, str, tuple[int | None, ...]]] = []

    def record(next_fun: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = next_fun(*args, **kwargs)
        if context.method_name == "__call__" and context.module.name is not None:
            calls.append((context.module.name, type(context.module).__name__, (None, *output.shape[1:])))
        return output

    with nn.intercept_methods(record):
        variables = jax.eval_shape(
            model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        )
    return [
        (name, kind, shape, count_parameters([collection.get(name, {}) for collection in variables.values()]))
        for name, kind, shape in calls
    ]
