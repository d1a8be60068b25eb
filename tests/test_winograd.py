"""Winograd's convolution equals XLA's own in value and gradient, for any shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from mnist_jax.winograd import pays, winograd_conv2d


def by_xla(images, kernel):
    return lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def make_case(batch, height, width, channels, features, dtype=np.float32):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(batch, height, width, channels)), dtype)
    return images, jnp.asarray(rng.normal(size=(3, 3, channels, features)), dtype)


def value_and_gradients(convolve, images, kernel):
    def weighted(images, kernel):
        result = convolve(images, kernel)
        return jnp.sum(result * jnp.cos(jnp.arange(result.size).reshape(result.shape))), result

    gradients, value = jax.grad(weighted, argnums=(0, 1), has_aux=True)(images, kernel)
    return value, *gradients


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 3),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    channels=st.integers(1, 5),
    features=st.integers(1, 5),
)
def test_value_and_gradients_of_any_shape(batch, height, width, channels, features):
    case = make_case(batch, height, width, channels, features)
    for ours, theirs in zip(
        value_and_gradients(winograd_conv2d, *case), value_and_gradients(by_xla, *case), strict=True
    ):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * float(jnp.abs(theirs).max()))


def test_the_networks_own_shapes_within_a_millionth_of_the_largest():
    case = make_case(64, 10, 10, 64, 64)
    for ours, theirs in zip(
        value_and_gradients(winograd_conv2d, *case), value_and_gradients(by_xla, *case), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1.5e-6 * float(jnp.abs(theirs).max()))


def test_members_side_by_side():
    images, kernel = make_case(2, 7, 6, 3, 4)
    stacked = jnp.stack([kernel, 2 * kernel])
    got = jax.vmap(lambda k: value_and_gradients(winograd_conv2d, images, k))(stacked)
    for index in range(2):
        alone = value_and_gradients(winograd_conv2d, images, stacked[index])
        for ours, theirs in zip(got, alone, strict=True):
            np.testing.assert_allclose(ours[index], theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((3, 3, 64, 64), jnp.float32, True),
        ((3, 3, 64, 10), jnp.float32, False),
        ((3, 3, 32, 64), jnp.float32, False),
        ((5, 5, 64, 64), jnp.float32, False),
        ((3, 3, 64, 64), jnp.bfloat16, False),
    ],
)
def test_it_pays_for_wide_kernels_in_full_precision(shape, dtype, expected):
    assert pays(jnp.zeros(shape, dtype)) is expected
