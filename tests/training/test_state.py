"""A new state is a function of its key, holds what it says, and finiteness is seen in every leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.models.cnn import CNN
from mnist_jax.training.optimizer import create_optimizer
from mnist_jax.training.state import all_finite
from tests.states import create_train_state
from tests.trees import same_bits


@pytest.fixture(scope="module")
def create(tiny_perceptron):
    """Gives `create(seed=0, model=tiny_perceptron, **options)`, a state made anew each time."""

    def make(seed=0, model=tiny_perceptron, **options):
        return create_train_state(jax.random.key(seed), model, (10, 9, 1), create_optimizer(1e-2), **options)

    return make


@pytest.fixture(scope="module")
def plain(create):
    return create()


@pytest.fixture(scope="module")
def averaged(create):
    return create(use_ema=True)


def test_a_new_state_stands_at_step_zero(plain):
    assert plain.step == 0 and plain.step.dtype == jnp.int32
    assert {leaf.dtype for leaf in jax.tree.leaves(plain.params)} == {jnp.dtype(jnp.float32)}
    assert not any(leaf.any() for leaf in jax.tree.leaves(plain.opt_state))
    assert sorted(plain.params) == ["BatchNorm_0", "Dense_0"]
    assert sorted(plain.batch_stats) == ["BatchNorm_0"]
    for stats in plain.batch_stats.values():
        assert not stats["mean"].any() and (stats["var"] == 1).all()


def test_the_key_alone_decides_the_first_parameters(create, plain):
    assert same_bits(plain.params, create(0).params)
    assert not same_bits(plain.params["Dense_0"]["kernel"], create(1).params["Dense_0"]["kernel"])


def test_the_average_does_not_change_the_first_parameters(plain, averaged):
    assert same_bits(plain.params, averaged.params)


def test_the_lowering_does_not_change_the_first_variables(create, tiny_model):
    gemm, lax = (create(model=tiny_model.clone(conv=conv)) for conv in ("gemm", "lax"))
    assert same_bits(gemm.variables(), lax.variables())


def test_without_an_average_the_trained_variables_are_evaluated(plain):
    assert plain.ema is None
    assert same_bits(plain.variables(), {"params": plain.params, "batch_stats": plain.batch_stats})
    assert same_bits(plain.eval_variables(), plain.variables())


def test_the_average_starts_at_the_first_values_and_is_evaluated(averaged):
    assert same_bits(averaged.ema, averaged.variables())
    moved = averaged.replace(ema=jax.tree.map(lambda leaf: leaf + 1, averaged.ema))
    assert same_bits(moved.eval_variables(), moved.ema)
    assert not same_bits(moved.eval_variables(), moved.variables())


def test_the_average_has_buffers_of_its_own(averaged):
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(averaged)]
    assert len(set(buffers)) == len(buffers)  # or the state could not be donated


def test_images_that_do_not_fit_are_refused_before_anything_is_made(create):
    with pytest.raises(ValueError, match="too small"):
        create(model=CNN(num_classes=3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_seen_in_any_leaf(bad):
    tree = {"a": jnp.zeros((2, 3)), "b": [jnp.ones(4), jnp.int32(7)]}
    assert all_finite(tree)
    assert not all_finite({**tree, "a": tree["a"].at[1, 2].set(bad)})
    assert not all_finite({**tree, "b": [tree["b"][0].at[0].set(bad), tree["b"][1]]})
