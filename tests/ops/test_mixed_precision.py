"""bfloat16 products with a float32 kernel: plain values, and a kernel gradient that was never rounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mnist_jax.ops.mixed_precision import convolve, matmul


def plain_convolution(images, kernel):
    return lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


CASES = [
    pytest.param(convolve, plain_convolution, (3, 6, 5, 2), (3, 3, 2, 4), id="convolution"),
    pytest.param(matmul, jnp.matmul, (7, 5), (5, 4), id="product"),
]


@pytest.mark.parametrize(("ours", "plain", "shape", "kernel_shape"), CASES)
def test_values_and_gradients_are_those_of_float32_on_rounded_numbers(ours, plain, shape, kernel_shape):
    generator = np.random.default_rng(0)
    images = jnp.asarray(generator.normal(size=shape), jnp.bfloat16)
    kernel = jnp.asarray(generator.normal(size=kernel_shape), jnp.float32)
    out, pullback = jax.vjp(lambda x, k: ours(x, k, None), images, kernel)
    rounded = kernel.astype(jnp.bfloat16).astype(jnp.float32)
    expected, expected_pullback = jax.vjp(plain, images.astype(jnp.float32), rounded)
    gradient = jnp.asarray(generator.normal(size=out.shape), jnp.bfloat16)
    to_images, to_kernel = pullback(gradient)
    expected_to_images, expected_to_kernel = expected_pullback(gradient.astype(jnp.float32))
    assert (out.dtype, to_images.dtype, to_kernel.dtype) == (jnp.bfloat16, jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(out, expected, rtol=0.02, atol=0.05)
    np.testing.assert_allclose(to_images, expected_to_images, rtol=0.02, atol=0.05)
    # Products of two bfloat16 are exact in float32, so their sum is good to float32's rounding.
    np.testing.assert_allclose(to_kernel, expected_to_kernel, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("ours", "plain", "shape", "kernel_shape"), CASES)
def test_in_float32_it_is_the_plain_operation(ours, plain, shape, kernel_shape):
    images, kernel = jnp.ones(shape), jnp.full(kernel_shape, 0.5)
    assert "custom_vjp" not in str(jax.make_jaxpr(lambda x, k: ours(x, k, None))(images, kernel))
    np.testing.assert_array_equal(ours(images, kernel, None), plain(images, kernel))
