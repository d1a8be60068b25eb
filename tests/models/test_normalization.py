"""The fused BatchNorm, ReLU and pooling against the three layers one after another."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.models.normalization import BatchNormRelu


def plain(x, variables, pool, train):
    """The same mathematics with Flax' own layers."""
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-3)
    out, updates = norm.apply(variables, x, mutable=["batch_stats"])
    out = nn.relu(out)
    return (nn.max_pool(out, (2, 2), (2, 2)) if pool else out), updates["batch_stats"]


def ours(x, variables, pool, train, implementation):
    layer = BatchNormRelu(not train, momentum=0.9, epsilon=1e-3, pool=pool, implementation=implementation)
    out, updates = layer.apply(variables, x, mutable=["batch_stats"])
    return out, updates["batch_stats"]


def random_variables(generator, features):
    return {
        "params": {
            "scale": jnp.asarray(generator.normal(size=features), jnp.float32),
            "bias": jnp.asarray(generator.normal(size=features), jnp.float32),
        },
        "batch_stats": {
            "mean": jnp.asarray(generator.normal(size=features), jnp.float32),
            "var": jnp.asarray(generator.uniform(0.5, 2.0, size=features), jnp.float32),
        },
    }


def assert_close(actual, expected):
    scale = float(jnp.max(jnp.abs(expected))) + 1e-6
    np.testing.assert_allclose(actual / scale, expected / scale, atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(2, 5),
    height=st.integers(2, 7),
    width=st.integers(2, 7),
    features=st.integers(1, 4),
    pool=st.booleans(),
    implementation=st.sampled_from(["gemm", "lax"]),
    seed=st.integers(0, 2**16),
)
def test_value_statistics_and_gradients_equal_the_plain_layers(
    batch, height, width, features, pool, implementation, seed
):
    generator = np.random.default_rng(seed)
    x = jnp.asarray(generator.normal(1.0, 2.0, size=(batch, height, width, features)), jnp.float32)
    variables = random_variables(generator, features)

    def loss(function, x, params):
        out, stats = function(x, {**variables, "params": params})
        return jnp.sum(jnp.sin(out) * out), (out, stats)

    def run(function):
        gradient = jax.grad(lambda x, params: loss(function, x, params), argnums=(0, 1), has_aux=True)
        # One program: operation by operation, each shape would be compiled dozens of times.
        return jax.jit(gradient)(x, variables["params"])

    gradients, (out, stats) = run(lambda x, v: ours(x, v, pool, True, implementation))
    expected_gradients, (expected, expected_stats) = run(lambda x, v: plain(x, v, pool, True))
    assert_close(out, expected)
    jax.tree.map(assert_close, stats, expected_stats)
    jax.tree.map(assert_close, gradients, expected_gradients)


@pytest.mark.parametrize("implementation", ["gemm", "lax"])
@pytest.mark.parametrize("pool", [False, True])
def test_evaluation_uses_and_keeps_the_running_statistics(implementation, pool):
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(size=(3, 4, 6, 2)), jnp.float32)
    variables = random_variables(generator, 2)
    out, stats = ours(x, variables, pool, False, implementation)
    expected, _ = plain(x, variables, pool, False)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])


def test_tied_pixels_share_the_gradient():
    variables = {
        "params": {"scale": jnp.ones(1), "bias": jnp.full(1, 5.0)},
        "batch_stats": {"mean": jnp.zeros(1), "var": jnp.ones(1)},
    }
    x = jnp.zeros((1, 2, 4, 1)).at[0, :, 2:].set(1.0)

    def weighted(x):
        out, _ = ours(x, variables, True, True, "gemm")
        return jnp.sum(out * jnp.array([1.0, 3.0]).reshape(1, 1, 2, 1))

    gradient = jax.grad(weighted)(x)
    assert jnp.all(gradient[0, :, :2] == gradient[0, 0, 0])
    assert jnp.all(gradient[0, :, 2:] == gradient[0, 0, 2])


def test_bfloat16_keeps_float32_statistics():
    x = jnp.ones((2, 4, 4, 3), jnp.bfloat16) * jnp.arange(3, dtype=jnp.bfloat16)
    layer = BatchNormRelu(False, pool=True, dtype=jnp.bfloat16)
    variables = layer.init(jax.random.key(0), x)
    out, updates = layer.apply(variables, x, mutable=["batch_stats"])
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(updates["batch_stats"]["mean"], 0.01 * np.arange(3), rtol=1e-6)
