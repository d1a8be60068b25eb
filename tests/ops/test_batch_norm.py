"""The fused BatchNorm, ReLU and pooling against Flax' layers; models/test_layers.py has more."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.ops.batch_norm import batch_norm_relu, conv_batch_norm_relu, has_few_inputs


def plain(x, scale, bias, pool):
    norm = nn.BatchNorm(use_running_average=False, momentum=0.0, epsilon=1e-3)
    variables = {"params": {"scale": scale, "bias": bias}}
    out, updates = norm.apply(variables, x, mutable=["batch_stats"])
    out = nn.relu(out)
    stats = updates["batch_stats"]
    return nn.max_pool(out, (2, 2), (2, 2)) if pool else out, stats["mean"], stats["var"]


def assert_close(actual, expected):
    scale = float(jnp.max(jnp.abs(expected))) + 1e-6
    np.testing.assert_allclose(actual / scale, expected / scale, atol=2e-5)


@settings(max_examples=20)
@given(
    batch=st.integers(2, 5),
    height=st.integers(2, 7),
    width=st.integers(2, 7),
    features=st.integers(1, 4),
    pool=st.booleans(),
    implementation=st.sampled_from(["native", "gemm", "fused", "lax"]),
    seed=st.integers(0, 2**16),
)
def test_value_statistics_and_gradients_equal_the_plain_layers(
    batch, height, width, features, pool, implementation, seed
):
    generator = np.random.default_rng(seed)
    x = jnp.asarray(generator.normal(1.0, 2.0, size=(batch, height, width, features)), jnp.float32)
    scale, bias = jnp.asarray(generator.normal(size=(2, features)), jnp.float32)

    def ours(x, scale, bias, pool):
        return batch_norm_relu(x, scale, bias, epsilon=1e-3, pool=pool, implementation=implementation)

    def run(function):
        def loss(*args):
            out, mean, var = function(*args, pool)
            return jnp.sum(jnp.sin(out) * out), (out, mean, var)

        # One program: operation by operation, each shape would be compiled dozens of times.
        return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(x, scale, bias)

    jax.tree.map(assert_close, run(ours), run(plain))


@pytest.mark.parametrize("implementation", ["native", "gemm", "fused", "lax"])
def test_the_statistics_carry_no_gradient(implementation):
    x = jnp.arange(24.0).reshape(2, 3, 4)

    def statistics(x):
        _, mean, var = batch_norm_relu(
            x, jnp.ones(4), jnp.zeros(4), epsilon=1e-3, implementation=implementation
        )
        return jnp.sum(mean + var)

    assert not jax.grad(statistics)(x).any()


def test_tied_pixels_share_the_gradient():
    x = jnp.zeros((1, 2, 4, 1)).at[0, :, 2:].set(1.0)

    def weighted(x):
        out, _, _ = batch_norm_relu(
            x, jnp.ones(1), jnp.full(1, 5.0), epsilon=1e-3, pool=True, implementation="gemm"
        )
        return jnp.sum(out * jnp.array([1.0, 3.0]).reshape(1, 1, 2, 1))

    gradient = jax.grad(weighted)(x)
    assert jnp.all(gradient[0, :, :2] == gradient[0, 0, 0])
    assert jnp.all(gradient[0, :, 2:] == gradient[0, 0, 2])


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="looks at what XLA makes for a CPU")
@pytest.mark.parametrize("channels, maxima", [(1, 3), (32, 6)])
def test_what_is_pooled_is_pooled_once(channels, maxima):
    """In value and gradient: three maxima a tile; with BatchNorm behind the convolution, minima as well."""
    x, kernel = jnp.ones((4, 12, 12, channels)), jnp.ones((3, 3, channels, 32))

    def loss(kernel, scale, bias):
        pooled, _, _ = conv_batch_norm_relu(
            x, kernel, scale, bias, epsilon=1e-3, pool=True, implementation="gemm"
        )
        return jnp.sum(pooled**2)

    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(kernel, jnp.ones(32), jnp.zeros(32)).compile()
    assert len(re.findall(r"maximum\(.*max_pool", compiled.as_text())) == maxima


def test_the_networks_first_convolution_has_few_inputs_and_no_other():
    assert has_few_inputs(jnp.zeros((3, 3, 1, 32)))
    assert not has_few_inputs(jnp.zeros((3, 3, 32, 32)))
    assert not has_few_inputs(jnp.zeros((3, 3, 64, 64)))
