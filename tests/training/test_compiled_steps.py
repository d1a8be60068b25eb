"""Steps in calls to the device: the order of an epoch is drawn once, and no bit depends on that."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.runtime.compilation import CompiledFunction
from mnist_jax.runtime.devices import make_layout
from mnist_jax.training import compiled_steps
from mnist_jax.training.compiled_steps import CompiledSteps
from mnist_jax.training.epoch import RunKeys, jit_train_steps
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.order import draw_order
from mnist_jax.training.step import train_step
from tests.trees import assert_same_bits

STEPS_PER_EPOCH = 20


@pytest.fixture
def drawn(monkeypatch):
    """The epochs whose order was drawn outside of a call."""
    epochs = []

    def draw(shuffle_keys, epoch, num_examples):
        epochs.append(int(epoch))
        return draw_order(shuffle_keys, epoch, num_examples)

    monkeypatch.setattr(compiled_steps, "draw_order", draw)
    return epochs


@pytest.fixture(scope="module")
def functions():
    """Gives the jitted function for a static or a dynamic length."""
    return functools.cache(
        lambda static_length: jit_train_steps(
            train_step, batch_size=4, num_examples=83, static_length=static_length
        )
    )


def train(function, static_length, cuts, state, data):
    steps = CompiledSteps(
        CompiledFunction(function), *map(jnp.asarray, data), RunKeys.from_seed(0), static_length
    )
    log, seconds = EpochLog.empty(STEPS_PER_EPOCH), 0.0
    steps.program(state, log, cuts[0])
    for length in cuts:
        state, log, taken = steps.run(state, log, length)
        seconds += taken
    assert seconds > 0
    return state, log


def test_an_order_is_drawn_once_an_epoch_and_no_bit_depends_on_it(
    functions, make_tiny_state, tiny_perceptron, tiny_data, drawn
):
    cut = train(functions(False), False, [3, 10, 7, 5], make_tiny_state(model=tiny_perceptron), tiny_data)
    assert drawn == [0, 1]
    images, labels = map(jnp.asarray, tiny_data)
    plain = make_tiny_state(model=tiny_perceptron), EpochLog.empty(STEPS_PER_EPOCH)
    for length in (20, 5):
        plain = functions(False)(*plain, images, labels, RunKeys.from_seed(0), np.int32(length))
    assert_same_bits(cut, plain)


def test_where_the_length_is_compiled_in_a_call_draws_it_itself(
    functions, make_tiny_state, tiny_perceptron, tiny_data, drawn
):
    state, _ = train(functions(True), True, [3, 17], make_tiny_state(model=tiny_perceptron), tiny_data)
    assert state.step == 20 and drawn == []


def test_a_run_that_goes_on_draws_the_order_of_its_own_epoch(
    functions, make_tiny_state, tiny_perceptron, tiny_data, drawn
):
    state = make_tiny_state(model=tiny_perceptron).replace(step=jnp.asarray(5 * STEPS_PER_EPOCH + 3))
    train(functions(False), False, [2], state, tiny_data)
    assert drawn == [5]


def test_keys_that_no_device_was_chosen_for_go_with_a_state_on_all(
    functions, make_tiny_state, tiny_perceptron, tiny_data
):
    everywhere = make_layout().replicated
    state = jax.device_put(make_tiny_state(model=tiny_perceptron), everywhere)
    data = jax.device_put(tiny_data, everywhere)
    log = jax.device_put(EpochLog.empty(STEPS_PER_EPOCH), everywhere)
    for keys in (RunKeys.from_seed(0), jax.device_put(RunKeys.from_seed(0), everywhere)):
        steps = CompiledSteps(CompiledFunction(functions(False)), *data, keys, False)
        after, _, _ = steps.run(*jax.tree.map(jnp.copy, (state, log)), 2)
        assert after.step == 2 and len(after.step.devices()) == jax.device_count() == 8
