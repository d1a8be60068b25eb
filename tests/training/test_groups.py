"""Frozen variables rest bit for bit, frozen BatchNorm uses what it learned, rates are scaled by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnist_jax.training.groups import (
    freeze_optimizer,
    freeze_step,
    matches,
    matches_any,
    names_of,
    scale_rates,
)
from mnist_jax.training.step import eval_step, train_step
from tests.conftest import TINY_IMAGE_SHAPE
from tests.states import create_train_state
from tests.trees import assert_close, assert_same_bits


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("conv0", True),
        ("conv*", True),
        ("conv0/bn", True),
        ("*/bn/scale", True),
        ("*scale", True),
        ("conv[01]", True),
        ("conv", False),
        ("conv1", False),
        ("bn", False),
        ("Conv0", False),
    ],
)
def test_a_pattern_matches_a_variable_or_a_layer_it_is_in(pattern, expected):
    assert matches("conv0/bn/scale", pattern) is expected


def make_state(model, tx, use_ema=True):
    """A state whose statistics are not those of any batch, and with a zero below zero."""
    state = create_train_state(jax.random.key(3), model, TINY_IMAGE_SHAPE, tx, use_ema=use_ema)
    noisy = jax.tree.map(
        lambda leaf: leaf + 0.1 * jnp.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape) / leaf.size,
        state.batch_stats,
    )
    params = jax.tree.map(lambda leaf: jnp.where(leaf == 0, -0.0, leaf), state.params)
    ema = {"params": params, "batch_stats": noisy} if use_ema else None
    return state.replace(params=params, batch_stats=noisy, ema=ema)


def by_name(tree):
    return dict(zip(names_of(tree), map(np.asarray, jax.tree.leaves(tree)), strict=True))


@pytest.mark.parametrize("patterns", [("BatchNorm_0",), ("*/bias", "*/kern?l")])
def test_what_is_frozen_rests_bit_for_bit_and_the_rest_moves(tiny_perceptron, tiny_data, patterns):
    images, labels = tiny_data
    tx = freeze_optimizer(optax.adamw(0.01, weight_decay=0.1), patterns)
    start = make_state(tiny_perceptron, tx)
    step = jax.jit(freeze_step(lambda *a: train_step(*a, ema_decay=0.9), patterns))
    state = start
    for _ in range(2):
        state, _ = step(state, {"image": images, "label": labels}, jax.random.key(0))
    assert int(state.step) == 2
    for before, after in (
        (start.params, state.params),
        (start.batch_stats, state.batch_stats),
        (start.ema["params"], state.ema["params"]),
        (start.ema["batch_stats"], state.ema["batch_stats"]),
    ):
        old, new = by_name(before), by_name(after)
        rests = {name for name in old if old[name].tobytes() == new[name].tobytes()}
        assert rests == {name for name in old if matches_any(name, patterns)}


@pytest.mark.parametrize("is_fused", [False, True])
def test_a_frozen_norm_uses_its_trained_statistics(tiny_model, tiny_perceptron, tiny_data, is_fused):
    """With all of them frozen and no dropout the loss in training is that of evaluation."""
    images, labels = map(jnp.asarray, tiny_data)
    model, patterns = (tiny_model, ("*/bn",)) if is_fused else (tiny_perceptron, ("BatchNorm_0",))
    model = model.clone(dropout_rate=0.0)
    state = make_state(model, freeze_optimizer(optax.sgd(0.01), patterns), use_ema=False)
    step = jax.jit(freeze_step(lambda *a: train_step(*a, statistics_momentum=0.9), patterns))
    new, metrics = step(state, {"image": images, "label": labels}, jax.random.key(0))
    sums, _ = eval_step(model.apply, state.variables(), images, labels, jnp.ones(len(labels), bool))
    assert float(metrics.loss_sum) == pytest.approx(float(sums.loss_sum), rel=1e-5)
    assert_same_bits(new.batch_stats, state.batch_stats)
    kernels = [name for name in names_of(state.params) if name.endswith("kernel")]
    old, moved = by_name(state.params), by_name(new.params)
    assert all((old[name] != moved[name]).any() for name in kernels)


def test_frozen_gradients_count_in_no_norm_and_have_no_state():
    params = {"body": {"kernel": jnp.full((2,), 3.0)}, "head": {"kernel": jnp.full((2,), 2.0)}}
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.trace(0.9))
    tx = freeze_optimizer(clipped, ("body",))
    state = tx.init(params)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 2
    gradients = {"body": {"kernel": jnp.full((2,), 100.0)}, "head": {"kernel": jnp.array([3.0, 4.0])}}
    updates, _ = tx.update(gradients, state, params)
    expected = {"body": {"kernel": jnp.zeros(2)}, "head": {"kernel": jnp.array([0.6, 0.8])}}
    assert_close(updates, expected)


def test_the_first_pattern_that_matches_scales_the_rate():
    params = {"conv0": {"bias": jnp.ones(2), "kernel": jnp.ones(3)}, "head": {"bias": jnp.ones(2)}}
    gradients = jax.tree.map(lambda leaf: 0.5 * leaf, params)
    tx = scale_rates(optax.sgd(0.1), {"conv0/bias": 4.0, "*/bias": 2.0, "conv0": 0.25})
    updates, _ = tx.update(gradients, tx.init(params), params)
    expected = {
        "conv0": {"bias": jnp.full(2, -0.2), "kernel": jnp.full(3, -0.0125)},
        "head": {"bias": jnp.full(2, -0.1)},
    }
    assert_close(updates, expected)
