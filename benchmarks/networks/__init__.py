"""The networks that are compared: one definition in each framework, of the same layers and sizes.

Each is written as its framework's own examples are, from the numbers here alone: ``in_flax``, ``in_torch``
and ``in_keras`` know nothing of this project's operations. Parameters agree in number, activations in shape;
where frameworks pad an even number of pixels differently at stride 2, each pads its own way.

``article``: four 3x3 convolutions without padding, two poolings, 512 hidden units: the package's default.
``resnet``: ResNet-8, three residual blocks (He et al., arXiv 1512.03385) with padding, two of stride 2.
``m3``: An et al.'s ten convolutions without padding or pooling (arXiv 2008.10400, table 1).
``separable``: five depthwise-separable blocks (MobileNet, arXiv 1704.04861), two of stride 2.
"""

from collections.abc import Mapping

# Of each the smallest side of images, in pixels.
NETWORKS: Mapping[str, int] = {"article": 16, "resnet": 4, "m3": 21, "separable": 4}

NUM_CLASSES = 10
KERNEL_SIZE = 3
DROPOUT_RATE = 0.2
BATCH_NORM_MOMENTUM = 0.99  # share of the old value
BATCH_NORM_EPSILON = 1e-3

ARTICLE_FEATURES = (32, 32, 64, 64)
ARTICLE_POOL_AFTER = (1, 3)
ARTICLE_DENSE_FEATURES = 512
RESNET_STEM_FEATURES = 16
RESNET_BLOCKS = ((16, 1), (32, 2), (64, 2))  # features and stride
M3_FEATURES = (32, 48, 64, 80, 96, 112, 128, 144, 160, 176)
SEPARABLE_STEM_FEATURES = 32
SEPARABLE_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1))  # features and stride
