"""The networks from Keras' own layers; the last one is computed in float32 whatever the policy."""

from collections.abc import Sequence

import keras
from keras import layers

from benchmarks import networks as n


def make_network(name: str, image_shape: Sequence[int]) -> keras.Model:
    """Makes one of ``NETWORKS``, of uint8 ``[B, height, width, channels]`` pixels.

    Args:
        name: one of ``NETWORKS``.
        image_shape: ``(height, width, channels)``.
    """
    inputs = keras.Input(tuple(image_shape))
    make = {"article": _article, "resnet": _resnet, "m3": _m3, "separable": _separable}[name]
    return keras.Model(inputs, make(layers.Rescaling(1 / 255)(inputs)))


def _article(x):
    for i, features in enumerate(n.ARTICLE_FEATURES):
        x = _norm_relu(layers.Conv2D(features, n.KERNEL_SIZE)(x))
        if i in n.ARTICLE_POOL_AFTER:
            x = layers.MaxPooling2D()(x)
    x = _norm_relu(layers.Dense(n.ARTICLE_DENSE_FEATURES)(layers.Flatten()(x)))
    return layers.Dense(n.NUM_CLASSES, dtype="float32")(layers.Dropout(n.DROPOUT_RATE)(x))


def _resnet(x):
    x = _norm_relu(layers.Conv2D(n.RESNET_STEM_FEATURES, 3, padding="same", use_bias=False)(x))
    for features, stride in n.RESNET_BLOCKS:
        y = _norm_relu(layers.Conv2D(features, 3, stride, padding="same", use_bias=False)(x))
        y = _norm()(layers.Conv2D(features, 3, padding="same", use_bias=False)(y))
        if x.shape != y.shape:
            x = _norm()(layers.Conv2D(features, 1, stride, use_bias=False)(x))
        x = layers.ReLU()(layers.Add()([x, y]))
    return _averaging_head(x)


def _m3(x):
    for features in n.M3_FEATURES:
        x = _norm_relu(layers.Conv2D(features, 3, use_bias=False)(x))
    x = layers.Dense(n.NUM_CLASSES, use_bias=False)(layers.Flatten()(x))
    return _norm(dtype="float32")(x)


def _separable(x):
    x = _norm_relu(layers.Conv2D(n.SEPARABLE_STEM_FEATURES, 3, padding="same", use_bias=False)(x))
    for features, stride in n.SEPARABLE_BLOCKS:
        x = _norm_relu(layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x))
        x = _norm_relu(layers.Conv2D(features, 1, use_bias=False)(x))
    return _averaging_head(x)


def _norm(**options):
    return layers.BatchNormalization(momentum=n.BATCH_NORM_MOMENTUM, epsilon=n.BATCH_NORM_EPSILON, **options)


def _norm_relu(x):
    return layers.ReLU()(_norm()(x))


def _averaging_head(x):
    return layers.Dense(n.NUM_CLASSES, dtype="float32")(layers.GlobalAveragePooling2D()(x))
