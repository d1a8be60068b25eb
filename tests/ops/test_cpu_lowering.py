"""The replacements compute what XLA's own operations do, and leave the rest alone."""

import functools

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from mnist_jax.ops.cpu_lowering import lower_for_cpu


def operations_of(function, *args):
    """The names of the primitives that are left, those of inner functions too."""

    def names(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from names(inner)

    return set(names(jax.make_jaxpr(function)(*args).jaxpr))


def assert_same(function, *args):
    """Values and gradients, and no operation of XLA's that a CPU is slow at."""

    def of(function):
        def value_and_gradients(*args):
            value, pullback = jax.vjp(function, *args)
            slopes = jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape)
            return value, pullback(slopes)

        return value_and_gradients

    # One program: operation by operation, each shape would be compiled dozens of times.
    expected, actual = jax.jit(lambda *args: (of(function)(*args), of(lower_for_cpu(function))(*args)))(*args)
    for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())
    slow = {"conv_general_dilated", "reduce_window_max", "reduce_window_sum", "select_and_scatter_add"}
    assert not operations_of(of(lower_for_cpu(function)), *args) & slow


def random(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize(
    ("kernel_size", "options"),
    [
        ((3, 3), {"padding": "SAME"}),
        ((3, 3), {"padding": "SAME", "strides": (2, 2)}),
        ((1, 1), {"padding": "VALID", "strides": (2, 3)}),
        ((3, 3), {"padding": "SAME", "feature_group_count": 4, "strides": (2, 2), "kernel_dilation": 2}),
        ((3, 3), {"padding": "CIRCULAR", "use_bias": False}),
    ],
    ids=str,
)
def test_convolutions_of_linen(kernel_size, options):
    layer = nn.Conv(8, kernel_size, **options)
    images = random(3, 9, 8, 4)
    variables = layer.init(jax.random.key(0), images)
    assert_same(
        lambda kernel, x: layer.apply({"params": {**variables["params"], "kernel": kernel}}, x),
        variables["params"]["kernel"],
        images,
    )


@settings(max_examples=10, derandomize=True)
@given(
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(*[st.tuples(st.integers(-1, 3), st.integers(0, 3))] * 2),
    groups=st.sampled_from([1, 1, 2, 6]),
)
def test_any_convolution(size, kernel, strides, dilation, padding, groups):
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(side + sum(p) < r for side, p, r in zip(size, padding, reach, strict=True)):
        return

    def convolve(images, kernel):
        return lax.conv_general_dilated(
            images, kernel, strides, padding, rhs_dilation=dilation, feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    assert_same(convolve, random(2, *size, 6), random(*kernel, 6 // groups, 12, seed=1))


def test_other_layouts():
    def convolve(images, kernel):
        return lax.conv(images, kernel, (2, 1), "SAME")

    assert_same(convolve, random(2, 3, 8, 7), random(5, 3, 3, 2, seed=1))


def test_many_channels_go_to_winograd():
    assert_same(
        lambda images, kernel: lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        random(2, 8, 8, 32),
        random(3, 3, 32, 32, seed=1) / 10,
    )


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: nn.max_pool(x, (2, 2), (2, 2)),
        lambda x: nn.max_pool(x, (3, 3), (2, 2), padding="SAME"),
        lambda x: nn.max_pool(x, (3, 2)),
        lambda x: nn.avg_pool(x, (2, 2), (2, 2)),
        lambda x: nn.avg_pool(x, (3, 3), (2, 2), padding="SAME", count_include_pad=False),
    ],
)
def test_poolings_of_linen(pool):
    assert_same(pool, random(2, 8, 9, 3))


def test_the_first_of_equal_pixels_gets_the_gradient():
    images = jnp.round(random(2, 6, 6, 2))
    assert_same(lambda x: nn.max_pool(x, (3, 3), (1, 1), padding="SAME"), images)


def test_half_precision_stays_half():
    layer = nn.Conv(4, (3, 3), strides=(2, 2), dtype=jnp.bfloat16)
    images = random(2, 8, 8, 3)
    variables = layer.init(jax.random.key(0), images)
    lowered = lower_for_cpu(layer.apply)(variables, images)
    expected = layer.apply(variables, images)
    assert lowered.dtype == expected.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(lowered), np.float32(expected), atol=0.05)


class Recomputing(nn.Module):
    """Statistics, dropout, an inner function that is jitted, and a part that is recomputed."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.remat(nn.Conv)(6, (3, 3), strides=(2, 2))(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = jax.jit(nn.max_pool, static_argnums=(1, 2))(nn.relu(x), (2, 2), (2, 2))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(3)(x.reshape(x.shape[0], -1))


def test_a_whole_network_with_its_statistics_and_dropout():
    model, images = Recomputing(), random(4, 12, 12, 1)
    variables, key = jax.jit(model.init)(jax.random.key(0), images), jax.random.key(1)

    def run(params, images, key):
        variables_now, rngs = {**variables, "params": params}, {"dropout": key}
        return model.apply(variables_now, images, train=True, mutable=["batch_stats"], rngs=rngs)

    def loss(function, params):
        logits, updates = function(params, images, key)
        return jnp.sum(logits**2), (logits, updates)

    gradient = functools.partial(jax.grad, argnums=1, has_aux=True)
    both = jax.jit(
        lambda params: [gradient(loss)(function, params) for function in (run, lower_for_cpu(run))]
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *both(variables["params"]))


def test_networks_side_by_side():
    layer, images = nn.Conv(4, (3, 3), strides=(2, 2)), random(2, 8, 8, 3)
    variables = jax.jit(jax.vmap(lambda key: layer.init(key, images)))(jax.random.split(jax.random.key(0), 3))
    apply = jax.vmap(layer.apply, (0, None))
    lowered = jax.vmap(lower_for_cpu(layer.apply), (0, None))
    np.testing.assert_allclose(
        *jax.jit(lambda *args: (lowered(*args), apply(*args)))(variables, images), atol=1e-5
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: nn.max_pool(x, (8, 8)),
        lambda x: lax.conv_transpose(x, jnp.ones((3, 3, 3, 2)), (2, 2), "SAME"),
        lambda x: jax.lax.fori_loop(0, 2, lambda _, y: nn.max_pool(y, (1, 1)), x),
        jnp.sin,
    ],
    ids=["a window of 64 pixels", "a transposed convolution", "a loop", "something else"],
)
def test_the_rest_is_left_alone(function):
    x = random(2, 9, 9, 3)
    np.testing.assert_array_equal(lower_for_cpu(function)(x), function(x))
    assert operations_of(lower_for_cpu(function), x) >= operations_of(function, x) - {"jit"}
