"""The networks from Flax' own layers, each in one module, as somebody writes it who knows Flax alone."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from benchmarks import networks as n


def make_network(name: str, dtype: str = "float32") -> nn.Module:
    """Makes one of ``NETWORKS``: called as ``network(images, train=...)``, float32 logits of [0, 1] images.

    Args:
        name: one of ``NETWORKS``.
        dtype: of the activations; parameters are float32.
    """
    return MODULES[name](dtype=dtype)


class Article(nn.Module):
    """The article's network."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits."""
        options = {"dtype": self.dtype, "kernel_init": nn.initializers.glorot_uniform()}
        norm = _batch_norm(train, self.dtype)
        for i, features in enumerate(n.ARTICLE_FEATURES):
            x = nn.Conv(features, (3, 3), padding="VALID", **options)(x)
            x = nn.relu(norm()(x))
            if i in n.ARTICLE_POOL_AFTER:
                x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(norm()(nn.Dense(n.ARTICLE_DENSE_FEATURES, **options)(x)))
        x = nn.Dropout(n.DROPOUT_RATE, deterministic=not train)(x)
        return nn.Dense(n.NUM_CLASSES, **options)(x).astype(jnp.float32)


class ResNet(nn.Module):
    """A residual network for small images."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits."""
        norm = _batch_norm(train, self.dtype)
        x = nn.Conv(n.RESNET_STEM_FEATURES, (3, 3), use_bias=False, dtype=self.dtype)(x)
        x = nn.relu(norm()(x))
        for features, stride in n.RESNET_BLOCKS:
            y = nn.Conv(features, (3, 3), strides=stride, use_bias=False, dtype=self.dtype)(x)
            y = nn.relu(norm()(y))
            y = nn.Conv(features, (3, 3), use_bias=False, dtype=self.dtype)(y)
            y = norm()(y)
            if x.shape != y.shape:
                x = nn.Conv(features, (1, 1), strides=stride, use_bias=False, dtype=self.dtype)(x)
                x = norm()(x)
            x = nn.relu(x + y)
        return nn.Dense(n.NUM_CLASSES, dtype=self.dtype)(x.mean((1, 2))).astype(jnp.float32)


class M3(nn.Module):
    """An et al.'s simple network of 3x3 kernels."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits."""
        norm = _batch_norm(train, self.dtype)
        for features in n.M3_FEATURES:
            x = nn.Conv(features, (3, 3), padding="VALID", use_bias=False, dtype=self.dtype)(x)
            x = nn.relu(norm()(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dense(n.NUM_CLASSES, use_bias=False, dtype=self.dtype)(x)
        return norm()(x).astype(jnp.float32)


class Separable(nn.Module):
    """A small MobileNet."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits."""
        norm = _batch_norm(train, self.dtype)
        x = nn.Conv(n.SEPARABLE_STEM_FEATURES, (3, 3), use_bias=False, dtype=self.dtype)(x)
        x = nn.relu(norm()(x))
        for features, stride in n.SEPARABLE_BLOCKS:
            channels = x.shape[-1]
            x = nn.Conv(
                channels,
                (3, 3),
                strides=stride,
                feature_group_count=channels,
                use_bias=False,
                dtype=self.dtype,
            )(x)
            x = nn.relu(norm()(x))
            x = nn.Conv(features, (1, 1), use_bias=False, dtype=self.dtype)(x)
            x = nn.relu(norm()(x))
        return nn.Dense(n.NUM_CLASSES, dtype=self.dtype)(x.mean((1, 2))).astype(jnp.float32)


MODULES: dict[str, type[nn.Module]] = {
    "article": Article,
    "resnet": ResNet,
    "m3": M3,
    "separable": Separable,
}


def _batch_norm(train: bool, dtype: str) -> Callable[[], nn.Module]:
    def norm():
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=n.BATCH_NORM_MOMENTUM,
            epsilon=n.BATCH_NORM_EPSILON,
            dtype=dtype,
        )

    return norm
