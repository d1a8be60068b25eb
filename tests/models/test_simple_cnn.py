"""An et al.'s networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.models.simple_cnn import SimpleCNN


def test_gemm_and_lax_agree_and_statistics_follow_the_batch():
    images = jax.random.uniform(jax.random.key(1), (5, 9, 9, 1))
    model = SimpleCNN(3, (4, 5), 3, conv="gemm")
    variables = model.init(jax.random.key(0), images)
    outputs, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
    other = model.clone(conv="lax")
    np.testing.assert_allclose(other.apply(variables, images), model.apply(variables, images), atol=1e-5)
    assert outputs.shape == (5, 3)
    # BatchNorm comes last: over the batch each logit has mean zero.
    np.testing.assert_allclose(outputs.mean(axis=0), 0.0, atol=1e-5)
    assert set(updates["batch_stats"]) == {"conv0", "conv1", "bn"}


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 5x5 for 2 convolutions of 3x3"):
        SimpleCNN(3, (4, 5), 3).init(jax.random.key(0), jnp.zeros((1, 4, 9, 1)))
