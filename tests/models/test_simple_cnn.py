"""An et al.'s networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.models.cnn import create_model
from mnist_jax.models.simple_cnn import SimpleCNN


# Kernels and BatchNorm as in the networks' published code, plus a bias for each channel of a convolution.
@pytest.mark.parametrize(
    ("name", "features", "kernel", "flat"),
    [
        ("simple_m3", (32, 48, 64, 80, 96, 112, 128, 144, 160, 176), 3, 11264),
        ("simple_m5", (32, 64, 96, 128, 160), 5, 10240),
        ("simple_m7", (48, 96, 144, 192), 7, 3072),
    ],
)
def test_the_named_networks_have_the_published_sizes(name, features, kernel, flat):
    # Sizes meant for the article's network are no business of these.
    model = create_model(name, 10, features=(1,), kernel_size=9, dense_features=3, dropout_rate=0.5)
    images = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    kernels = [params[f"conv{i}"]["kernel"].shape for i in range(len(features))]
    assert kernels == [(kernel, kernel, a, b) for a, b in zip((1, *features), features, strict=False)]
    assert {key: leaf.shape for key, leaf in params["head"].items()} == {"kernel": (flat, 10)}


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
    assert set(updates["batch_stats"]) == {"bn0", "bn1", "bn2"}


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 5x5 for 2 convolutions of 3x3"):
        SimpleCNN(3, (4, 5), 3).init(jax.random.key(0), jnp.zeros((1, 4, 9, 1)))
