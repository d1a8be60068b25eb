"""The blocks compute what linen's own layers do, but for a gradient that is zero."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.models.layers import BatchNorm, ConvBlock, DenseBlock

MOMENTUM, EPSILON = 0.9, 1e-3


class Plain(nn.Module):
    """linen's layers one after another, their variables nested as a block's."""

    layer: nn.Module
    pool: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        x = self.layer(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON, name="bn")(x)
        x = nn.relu(x)
        return nn.max_pool(x, (2, 2), (2, 2)) if self.pool else x


def plain_conv(features, kernel_size=3, pool=False):
    return Plain(nn.Conv(features, (kernel_size, kernel_size), padding="VALID"), pool)


def as_block(variables):
    """The variables of `Plain` as a block has them."""
    params = variables["params"]
    return {
        "params": {**params["layer"], "bn": params["bn"]},
        "batch_stats": {"bn": variables["batch_stats"]["bn"]},
    }


def random_variables(generator, model, x):
    """Every number drawn, the bias that BatchNorm cancels and the running statistics too."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    draw = lambda leaf: jnp.asarray(generator.normal(size=leaf.shape), jnp.float32)  # noqa: E731
    variables = jax.tree.map(draw, shapes)
    variables["batch_stats"] = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.5, variables["batch_stats"])
    return variables


def outputs_and_gradients(model, variables, x, cotangent):
    def run(x, params):
        out, updates = model.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.vdot(out, cotangent), (out, updates["batch_stats"])

    # One program: operation by operation, each shape would be compiled dozens of times.
    gradient = jax.jit(jax.grad(run, argnums=(0, 1), has_aux=True))
    (to_x, to_params), (out, stats) = gradient(x, variables["params"])
    return out, stats, to_x, to_params


def assert_close(actual, expected, tolerance=2e-5):
    assert actual.shape == expected.shape
    scale = float(jnp.max(jnp.abs(expected))) + 1e-3
    np.testing.assert_allclose(actual / scale, expected / scale, atol=tolerance)


def assert_equal_to_plain(block, plain, x, seed=0):
    generator = np.random.default_rng(seed)
    variables = random_variables(generator, plain, x)
    evaluated = jax.jit(block.apply)(as_block(variables), x)
    assert_close(evaluated, plain.apply(variables, x))
    cotangent = jnp.asarray(generator.normal(size=evaluated.shape), jnp.float32)
    expected = outputs_and_gradients(plain, variables, x, cotangent)
    out, stats, to_x, to_params = outputs_and_gradients(block, as_block(variables), x, cotangent)
    assert_close(out, expected[0])
    jax.tree.map(assert_close, stats["bn"], expected[1]["bn"])
    assert_close(to_x, expected[2], 1e-4)
    # linen's gradient to this bias is rounding; the mathematics says zero.
    assert not jnp.any(to_params.pop("bias"))
    assert_close(to_params["kernel"], expected[3]["layer"]["kernel"], 1e-4)
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-4), to_params["bn"], expected[3]["bn"])


def conv_block(features, kernel_size=3, pool=False, implementation="gemm"):
    return ConvBlock(features, kernel_size, pool, MOMENTUM, EPSILON, implementation)


@pytest.mark.parametrize("implementation", ["native", "gemm", "fused", "lax"])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(
    ("shape", "features"),
    [((8, 28, 28, 1), 32), ((8, 14, 13, 3), 16), ((5, 9, 9, 8), 8), ((4, 10, 10, 32), 32)],
    ids=["the network's first", "color", "too many inputs", "Winograd"],
)
def test_a_convolution_block_equals_linen(shape, features, pool, implementation):
    x = jax.random.uniform(jax.random.key(1), shape)
    assert_equal_to_plain(conv_block(features, 3, pool, implementation), plain_conv(features, pool=pool), x)


@pytest.mark.slow
@settings(max_examples=8, derandomize=True)
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
def test_a_convolution_block_of_any_shape(batch, height, width, features, kernel_size, pool, seed):
    x = jax.random.uniform(jax.random.key(seed), (batch, height, width, 1))
    block, plain = conv_block(features, kernel_size, pool), plain_conv(features, kernel_size, pool)
    assert_equal_to_plain(block, plain, x, seed)


@pytest.mark.parametrize("implementation", ["native", "gemm", "fused", "lax"])
def test_a_dense_block_equals_linen(implementation):
    x = jax.random.normal(jax.random.key(1), (12, 7))
    block = DenseBlock(5, MOMENTUM, EPSILON, implementation)
    assert_equal_to_plain(block, Plain(nn.Dense(5)), x)


@pytest.mark.parametrize("train", [False, True])
def test_batch_norm_equals_linen(train):
    x = jax.random.normal(jax.random.key(1), (6, 3, 4))
    plain = nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON)
    variables = random_variables(np.random.default_rng(0), plain, x)
    out, updates = BatchNorm(4, MOMENTUM, EPSILON).apply(variables, x, train=train, mutable=["batch_stats"])
    expected, expected_updates = plain.apply(variables, x, mutable=["batch_stats"])
    assert_close(out, expected)
    jax.tree.map(assert_close, updates, expected_updates)


@pytest.mark.parametrize("kernel_size", [1, 2, 5])
def test_the_kernel_has_the_size_asked_for(kernel_size):
    images = jnp.zeros((2, 7, 6, 3))
    output, variables = jax.eval_shape(ConvBlock(4, kernel_size).init_with_output, jax.random.key(0), images)
    assert variables["params"]["kernel"].shape == (kernel_size, kernel_size, 3, 4)
    assert output.shape == (2, 8 - kernel_size, 7 - kernel_size, 4)


def test_starts_as_keras_does():
    params = jax.jit(ConvBlock(64).init)(jax.random.key(0), jnp.zeros((1, 8, 8, 32)))["params"]
    limit = np.sqrt(6 / (9 * 32 + 9 * 64))  # Glorot and Bengio 2010, fan in and fan out of a 3x3 kernel
    assert 0.99 * limit < np.abs(params["kernel"]).max() <= limit
    assert np.std(params["kernel"]) == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert not params["bias"].any()


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("features", [4, 16], ids=["too many inputs", "few inputs"])
@pytest.mark.parametrize("implementation", ["native", "gemm", "fused", "lax"])
def test_computes_in_its_dtype_and_keeps_variables_in_float32(train, features, implementation):
    images = jax.random.uniform(jax.random.key(0), (4, 12, 12, 1))
    block = ConvBlock(features, pool=True, implementation=implementation, dtype=jnp.bfloat16)
    variables = block.init(jax.random.key(1), images)
    out, updates = block.apply(variables, images, train=train, mutable=["batch_stats"])
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, updates))} == {jnp.dtype("float32")}
    exact, _ = block.clone(dtype=jnp.float32).apply(variables, images, train=train, mutable=["batch_stats"])
    np.testing.assert_allclose(np.asarray(out, np.float32), exact, atol=0.1)


def test_images_of_one_color_have_no_variance():
    block = conv_block(6)
    images = jnp.full((2, 6, 6, 1), 0.7)
    variables = block.init(jax.random.key(0), images)

    def total(variables):
        out, updates = block.apply(variables, images, train=True, mutable=["batch_stats"])
        return jnp.sum(out), (out, updates)

    gradients, (out, updates) = jax.grad(total, has_aux=True)(variables)
    np.testing.assert_allclose(out, jnp.zeros_like(out), atol=1e-3)
    assert jnp.all(updates["batch_stats"]["bn"]["var"] >= 0)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradients["params"]))


def test_a_kernel_larger_than_the_images_is_refused():
    with pytest.raises(ValueError, match="7x7 kernel does not fit into 7x6 images"):
        jax.eval_shape(ConvBlock(4, 7).init, jax.random.key(0), jnp.zeros((2, 7, 6, 3)))
