"""The layers are linen's own in all but their lowering and a gradient that is zero."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.models.layers import Conv, Dense

IMAGES = jax.random.normal(jax.random.key(1), (2, 7, 6, 3))


@pytest.fixture(scope="module")
def linen():
    """linen's own layer and variables for it, the bias not zero."""
    layer = nn.Conv(5, (3, 3), padding="VALID")
    variables = jax.jit(layer.init)(jax.random.key(0), IMAGES)
    variables["params"]["bias"] = jnp.arange(5.0)
    return layer, variables


@pytest.mark.parametrize("implementation", ["auto", "gemm", "lax"])
def test_equals_linen_with_the_same_variables(linen, implementation):
    layer, variables = linen
    ours = Conv(5, implementation=implementation)
    made = jax.eval_shape(ours.init, jax.random.key(0), IMAGES)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, variables)
    output = jax.jit(ours.apply)(variables, IMAGES)
    np.testing.assert_allclose(output, layer.apply(variables, IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel_size", [1, 2, 5])
def test_the_kernel_has_the_size_asked_for(kernel_size):
    output, variables = jax.eval_shape(Conv(4, kernel_size).init_with_output, jax.random.key(0), IMAGES)
    assert variables["params"]["kernel"].shape == (kernel_size, kernel_size, 3, 4)
    assert output.shape == (2, 8 - kernel_size, 7 - kernel_size, 4)


def test_starts_as_keras_does():
    params = jax.jit(Conv(64).init)(jax.random.key(0), jnp.zeros((1, 8, 8, 32)))["params"]
    limit = np.sqrt(6 / (9 * 32 + 9 * 64))  # Glorot and Bengio 2010, fan in and fan out of a 3x3 kernel
    assert 0.99 * limit < np.abs(params["kernel"]).max() <= limit
    assert np.std(params["kernel"]) == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert not params["bias"].any()


def test_computes_in_its_dtype_and_keeps_parameters_in_float32():
    layer = Conv(4, dtype=jnp.bfloat16)
    output, variables = jax.jit(layer.init_with_output)(jax.random.key(0), IMAGES)
    assert output.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    exact = Conv(4).apply(variables, IMAGES)
    np.testing.assert_allclose(np.asarray(output, np.float32), exact, atol=0.05)


def test_a_kernel_larger_than_the_images_is_refused():
    with pytest.raises(ValueError, match="7x7 kernel does not fit into 7x6 images"):
        jax.eval_shape(Conv(4, 7).init, jax.random.key(0), IMAGES)


def test_the_dense_layer_is_linens_but_for_the_gradient_of_its_bias():
    inputs = jax.random.normal(jax.random.key(2), (3, 4))
    variables = nn.Dense(5).init(jax.random.key(0), inputs)
    variables["params"]["bias"] = jnp.arange(5.0)

    def loss(layer, variables):
        return jnp.sum(jnp.sin(layer.apply(variables, inputs)))

    value, gradients = jax.value_and_grad(lambda v: loss(Dense(5), v))(variables)
    expected, expected_gradients = jax.value_and_grad(lambda v: loss(nn.Dense(5), v))(variables)
    assert value == expected
    np.testing.assert_array_equal(gradients["params"]["kernel"], expected_gradients["params"]["kernel"])
    assert not gradients["params"]["bias"].any()
