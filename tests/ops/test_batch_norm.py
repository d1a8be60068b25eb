"""A convolution that BatchNorm does itself, against Flax' own layers one after another."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.models.layers import Conv
from mnist_jax.models.normalization import BatchNormRelu
from mnist_jax.ops.batch_norm import has_few_inputs


class Plain(nn.Module):
    """linen's own layers."""

    features: int
    kernel_size: int
    pool: bool

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.features, (self.kernel_size,) * 2, padding="VALID", name="conv")(x)
        x = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-3, name="bn")(x)
        x = nn.relu(x)
        return nn.max_pool(x, (2, 2), (2, 2)) if self.pool else x


class Ours(nn.Module):
    """The same layers and variables, the convolution left to BatchNorm."""

    features: int
    kernel_size: int
    pool: bool
    implementation: str = "gemm"

    @nn.compact
    def __call__(self, x):
        operands = Conv(self.features, self.kernel_size, self.implementation, name="conv").operands(x)
        return BatchNormRelu(False, 0.9, 1e-3, self.pool, self.implementation, name="bn")(operands)


def random_like(generator, tree):
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape), jnp.float32), tree)


def outputs_and_gradients(model, variables, images, cotangent):
    def run(images, params):
        out, updates = model.apply(variables | {"params": params}, images, mutable=["batch_stats"])
        return jnp.vdot(out, cotangent), (out, updates["batch_stats"])

    # One program: operation by operation, each shape would be compiled dozens of times.
    gradient = jax.jit(jax.grad(run, argnums=(0, 1), has_aux=True))
    gradients, outputs = gradient(images, variables["params"])
    return outputs, gradients


def assert_equal_to_plain(sizes, pool, implementation="gemm", seed=0, tolerance=2e-5):
    batch, height, width, channels, features, kernel_size = sizes
    generator = np.random.default_rng(seed)
    images = jnp.asarray(generator.uniform(size=(batch, height, width, channels)), jnp.float32)
    plain = Plain(features, kernel_size, pool)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), images)
    variables = random_like(generator, shapes)
    out = jax.eval_shape(lambda v, x: plain.apply(v, x, mutable=["batch_stats"])[0], variables, images)
    cotangent = random_like(generator, out)
    expected, expected_gradients = outputs_and_gradients(plain, variables, images, cotangent)
    ours = Ours(features, kernel_size, pool, implementation)
    outputs, gradients = outputs_and_gradients(ours, variables, images, cotangent)
    jax.tree.map(lambda a, b: assert_close(a, b, tolerance), outputs, expected)
    # linen's gradient to this bias is rounding; the mathematics says zero.
    assert not jnp.any(gradients[1]["conv"].pop("bias"))
    expected_gradients[1]["conv"].pop("bias")
    jax.tree.map(lambda a, b: assert_close(a, b, 5 * tolerance), gradients, expected_gradients)


def assert_close(actual, expected, tolerance):
    assert actual.shape == expected.shape
    scale = float(jnp.max(jnp.abs(expected))) + 1e-3
    np.testing.assert_allclose(actual / scale, expected / scale, atol=tolerance)


@pytest.mark.parametrize("implementation", ["gemm", "lax"])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [(8, 28, 28, 1, 32, 3), (8, 14, 13, 3, 16, 3), (5, 9, 9, 8, 8, 3)],
    ids=["the network's first", "color", "too many inputs"],
)
def test_value_statistics_and_gradients_equal_linen(sizes, pool, implementation):
    assert_equal_to_plain(sizes, pool, implementation)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    batch=st.integers(2, 4),
    height=st.integers(6, 12),
    width=st.integers(6, 12),
    features=st.integers(5, 12),
    # BatchNorm undoes what a kernel of one pixel does: its gradient is rounding in any form.
    kernel_size=st.integers(2, 3),
    pool=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_shape(batch, height, width, features, kernel_size, pool, seed):
    assert_equal_to_plain((batch, height, width, 1, features, kernel_size), pool, seed=seed)


def test_the_networks_first_convolution_has_few_inputs_and_no_other():
    assert has_few_inputs(jnp.zeros((3, 3, 1, 32)))
    assert not has_few_inputs(jnp.zeros((3, 3, 32, 32)))
    assert not has_few_inputs(jnp.zeros((3, 3, 64, 64)))


def test_images_of_one_color_have_no_variance():
    model = Ours(6, 3, False)
    images = jnp.full((2, 6, 6, 1), 0.7)
    variables = model.init(jax.random.key(0), images)
    out, updates = model.apply(variables, images, mutable=["batch_stats"])
    np.testing.assert_allclose(out, jnp.zeros_like(out), atol=1e-3)
    assert jnp.all(updates["batch_stats"]["bn"]["var"] >= 0)
    gradients = jax.grad(lambda v: jnp.sum(model.apply(v, images, mutable=["batch_stats"])[0]))(variables)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradients["params"]))


def test_bfloat16_in_bfloat16_out_and_float32_statistics():
    images = jax.random.uniform(jax.random.key(0), (4, 12, 12, 1))
    variables = Ours(16, 3, True).init(jax.random.key(1), images)
    exact, _ = Ours(16, 3, True).apply(variables, images, mutable=["batch_stats"])
    operands = Conv(16, 3, "gemm", jnp.bfloat16).apply(
        {"params": variables["params"]["conv"]}, images, method="operands"
    )
    layer = BatchNormRelu(False, 0.9, 1e-3, True, "gemm", jnp.bfloat16)
    inner = {"params": variables["params"]["bn"], "batch_stats": variables["batch_stats"]["bn"]}
    out, updates = layer.apply(inner, operands, mutable=["batch_stats"])
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(np.asarray(out, np.float32), exact, atol=0.1)
