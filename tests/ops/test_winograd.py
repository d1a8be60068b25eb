"""Winograd's convolution equals the definition in value and gradient, for any shape."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.ops.winograd import POINTS, is_profitable, transforms, winograd_conv2d
from tests.ops.test_convolution import make_case, reference


def value_and_gradients(images, kernel, cotangent):
    value, pullback = jax.vjp(winograd_conv2d, images, kernel)
    return value, *pullback(cotangent)


@settings(max_examples=8, derandomize=True)
@given(
    batch=st.integers(1, 3),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    channels=st.integers(1, 5),
    features=st.integers(1, 5),
)
def test_value_and_gradients_of_any_shape(batch, height, width, channels, features):
    case = make_case((batch, height, width, 3, 3, channels, features))
    for result, expected in zip(value_and_gradients(*case), reference(*case), strict=True):
        assert result.shape == expected.shape and result.dtype == jnp.float32
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "shape", [(64, 26, 26, 3, 3, 32, 32), (64, 12, 12, 3, 3, 32, 64), (64, 10, 10, 3, 3, 64, 64)]
)
def test_the_networks_own_shapes_lose_a_few_millionths_of_the_largest(shape):
    """Half of what the layer may lose."""
    case = make_case(shape)
    for result, expected in zip(value_and_gradients(*case), reference(*case), strict=True):
        np.testing.assert_allclose(result, expected, rtol=0, atol=5e-6 * np.abs(expected).max())


def test_the_transforms_filter_exactly():
    inputs, filters, outputs = (np.array(matrix) for matrix in transforms(POINTS, 3))
    images = np.array([Fraction(x) for x in (3, -1, 4, 1, -5, 9)])
    kernel = np.array([Fraction(x) for x in (2, -7, 1)])
    expected = [images[i : i + 3] @ kernel for i in range(4)]
    assert (outputs @ ((filters @ kernel) * (inputs @ images)) == expected).all()


def largest_rounding_error(points):
    """Of tiles of random numbers in 64 channels, in float32."""
    rng = np.random.default_rng(0)
    images, kernel = rng.normal(size=(500, 64, 6, 6)), rng.normal(size=(64, 3, 3))

    def filtered(dtype):
        inputs, filters, outputs = (np.array(matrix, float).astype(dtype) for matrix in transforms(points, 3))
        tiles, weights = images.astype(np.float32).astype(dtype), kernel.astype(np.float32).astype(dtype)
        products = (filters @ weights @ filters.T) * (inputs @ tiles @ inputs.T)
        return outputs @ products.sum(axis=1) @ outputs.T

    return np.abs(filtered(np.float32) - filtered(np.float64)).max()


def test_the_points_lose_a_third_of_what_small_integers_do():
    small_integers = [Fraction(x) for x in (0, 1, -1, 2, -2)]
    assert 3 * largest_rounding_error(POINTS) < largest_rounding_error(small_integers)


def test_members_side_by_side():
    images, kernel, cotangent = make_case((2, 7, 6, 3, 3, 3, 4))
    stacked = jnp.stack([kernel, 2 * kernel])
    together = jax.vmap(value_and_gradients, in_axes=(None, 0, None))(images, stacked, cotangent)
    for index in range(2):
        alone = value_and_gradients(images, stacked[index], cotangent)
        for member, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(member[index], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "shape", "dtype", "expected"),
    [
        (26, (3, 3, 32, 32), jnp.float32, True),
        (10, (3, 3, 64, 64), jnp.float32, True),
        (10, (3, 3, 64, 10), jnp.float32, False),
        (10, (3, 3, 16, 64), jnp.float32, False),
        (10, (5, 5, 64, 64), jnp.float32, False),
        (10, (3, 3, 64, 64), jnp.bfloat16, False),
        (6, (3, 3, 64, 64), jnp.float32, True),
        (5, (3, 3, 64, 64), jnp.float32, False),
        (7, (3, 3, 64, 64), jnp.float32, False),
    ],
)
def test_it_is_profitable_for_many_channels_full_tiles_and_full_precision(size, shape, dtype, expected):
    assert is_profitable(jnp.zeros((1, size, size, shape[2])), jnp.zeros(shape, dtype)) is expected
