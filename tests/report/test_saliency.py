"""What spoke for a class: the gradient of the difference of two logits, smoothed."""

import flax.linen as nn
import jax
import numpy as np

from mnist_jax.report.saliency import saliency
from tests.conftest import TINY_IMAGE_SHAPE


class Linear(nn.Module):
    """Its gradient is its weights, whatever the image and its noise."""

    @nn.compact
    def __call__(self, images, train=False):
        return nn.Dense(3)(images.reshape(images.shape[0], -1))


def test_of_a_linear_network_it_is_the_difference_of_the_weights_over_3_by_3_pixels():
    module, (height, width, _) = Linear(), TINY_IMAGE_SHAPE
    images = np.random.default_rng(0).integers(0, 256, (2, *TINY_IMAGE_SHAPE)).astype(np.uint8)
    variables = module.init(jax.random.key(1), images / 255.0)
    predicted, labels = np.array([0, 2]), np.array([1, 0])
    found = saliency(module, variables, images, predicted, labels)
    kernel = np.asarray(variables["params"]["Dense_0"]["kernel"]).reshape(height, width, 3)
    for row, (a, b) in enumerate(zip(predicted, labels, strict=True)):
        padded = np.pad(kernel[..., a] - kernel[..., b], 1)
        expected = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).mean(axis=(2, 3))
        np.testing.assert_allclose(found[row], expected, atol=1e-6)
