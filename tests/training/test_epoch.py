"""However a run is cut into calls, the bits are the same."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mnist_jax.metrics.sums import Metrics
from mnist_jax.training.draws import draw_step
from mnist_jax.training.epoch import RunKeys, jit_train_steps
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.order import draw_order, epoch_order
from mnist_jax.training.step import train_step
from tests.trees import assert_close, assert_same_bits, same_bits

NUM_EXAMPLES, BATCH_SIZE, STEPS_PER_EPOCH = 83, 4, 20  # three examples are left over
KEYS = RunKeys.from_seed(0)


def add_noise(key, images):
    return images + 0.1 * jax.random.uniform(key, images.shape)


STEP = functools.partial(train_step, augment_fn=add_noise, ema_decay=0.9, label_smoothing=0.1)


@pytest.fixture(scope="module")
def train_steps():
    """Gives the jitted function for options, made once for each."""
    return functools.cache(
        lambda **options: jit_train_steps(STEP, batch_size=4, num_examples=NUM_EXAMPLES, **options)
    )


@pytest.fixture(scope="module")
def run(train_steps, make_tiny_state, tiny_model, tiny_data):
    """Gives `run(cuts, keys, data, model, **options) -> (state, log)` from a new state."""

    def run_cuts(cuts, keys=KEYS, data=tiny_data, model=tiny_model, **options):
        options.setdefault("static_length", False)
        state, log = make_tiny_state(model=model, use_ema=True), EpochLog.empty(STEPS_PER_EPOCH)
        images, labels = map(jnp.asarray, data)
        for length in cuts:
            given = {"num_steps": length} if options["static_length"] else {}
            rest = () if options["static_length"] else (np.int32(length),)
            state, log = train_steps(**options)(state, log, images, labels, keys, *rest, **given)
        return state, log

    return run_cuts


@pytest.fixture(scope="module")
def whole(run):
    """One epoch in one call."""
    return run([STEPS_PER_EPOCH])


def test_the_streams_of_a_seed_are_different():
    data = {
        tuple(np.asarray(jax.random.key_data(key)).tolist())
        for seed in (0, 1)
        for key in jax.tree.leaves(RunKeys.from_seed(seed))
    }
    assert len(data) == 6


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_any_seed_gives_the_streams_of_its_key(seed):
    keys, expected = RunKeys.from_seed(seed), jax.random.split(jax.random.key(seed), 3)
    for key, wanted in zip((keys.params, keys.train, keys.shuffle), expected, strict=True):
        np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(wanted))


@pytest.mark.parametrize("cuts", [(7, 13), (1,) * 20])
def test_any_cut_gives_the_same_bits(run, whole, cuts):
    assert_same_bits(run(cuts), whole)


def test_static_and_dynamic_lengths_give_the_same_bits(run, whole, tiny_perceptron):
    assert_same_bits(run([20], static_length=True), whole)
    cut = run([2, 3], model=tiny_perceptron, static_length=True)
    assert_same_bits(cut, run([5], model=tiny_perceptron))


def test_one_call_equals_single_jitted_steps(whole, make_tiny_state, tiny_data):
    images, labels = tiny_data
    order = np.asarray(epoch_order(KEYS.shuffle, 0, NUM_EXAMPLES))
    state, losses, correct = make_tiny_state(use_ema=True), [], []
    step = jax.jit(STEP)
    for n in range(STEPS_PER_EPOCH):
        rows = order[BATCH_SIZE * n : BATCH_SIZE * (n + 1)]
        state, metrics = step(state, {"image": images[rows], "label": labels[rows]}, KEYS.train)
        losses.append(metrics.loss_sum)
        correct.append(metrics.num_correct)
    assert_same_bits((state, EpochLog(jnp.stack(losses), jnp.stack(correct))), whole)


def test_the_next_epoch_has_its_own_order_and_may_be_cut_too(run):
    cut, log = run([20, 5, 15])
    whole, whole_log = run([20, 20])
    assert int(cut.step) == 40
    assert_same_bits((cut, log), (whole, whole_log))


def test_one_program_serves_every_dynamic_length(make_tiny_state, tiny_perceptron, tiny_data):
    run = jit_train_steps(train_step, batch_size=4, num_examples=NUM_EXAMPLES, static_length=False)
    state, log = make_tiny_state(model=tiny_perceptron), EpochLog.empty(STEPS_PER_EPOCH)
    images, labels = map(jnp.asarray, tiny_data)
    for length in (3, 2, 1):
        state, log = run(state, log, images, labels, KEYS, np.int32(length))
    assert int(state.step) == 6
    assert run._cache_size() == 1


def test_an_order_that_was_drawn_before_gives_the_same_bits(run, whole):
    order = draw_order(KEYS.shuffle, 0, NUM_EXAMPLES)
    assert_same_bits(run([7, 13], replace(KEYS, order=order)), whole)
    with pytest.raises(ValueError, match=r"an order of \(82,\) examples; expected one of 83"):
        run([1], replace(KEYS, order=order[:82]))


def test_another_seed_gives_another_run(run, whole):
    assert not same_bits(run([20], RunKeys.from_seed(1))[0].params, whole[0].params)


def test_what_fills_no_batch_is_left_out_of_the_epoch(run, whole, tiny_data):
    order = np.asarray(epoch_order(KEYS.shuffle, 0, NUM_EXAMPLES))
    images, labels = tiny_data[0].copy(), tiny_data[1].copy()
    images[order[80:]] = 255
    assert_same_bits(run([20], data=(images, labels)), whole)
    images[order[79]] = 255
    assert not same_bits(run([20], data=(images, labels))[0].params, whole[0].params)


def test_every_other_example_is_seen_once(make_tiny_state):
    """The labels that pass by, written down by a step that does nothing else."""

    def record(state, batch, key):
        return state.replace(step=state.step + 1), Metrics(jnp.sum(batch["label"] * 1.0), jnp.int32(0))

    run = jit_train_steps(record, batch_size=1, num_examples=9)
    log = run(
        make_tiny_state(),
        EpochLog.empty(9),
        jnp.zeros((9, 2, 2, 1), jnp.uint8),
        jnp.arange(9),
        KEYS,
        num_steps=9,
    )[1]
    assert sorted(np.asarray(log.loss_sum)) == list(range(9))
    np.testing.assert_array_equal(log.loss_sum, epoch_order(KEYS.shuffle, 0, 9))


@pytest.mark.parametrize("static_length", [False, True])
def test_state_and_log_are_donated_and_the_data_is_not(
    train_steps, make_tiny_state, tiny_perceptron, tiny_data, static_length
):
    state, log = make_tiny_state(model=tiny_perceptron, use_ema=True), EpochLog.empty(STEPS_PER_EPOCH)
    images, labels = map(jnp.asarray, tiny_data)
    given = {"num_steps": 1} if static_length else {}
    rest = () if static_length else (np.int32(1),)
    train_steps(static_length=static_length)(state, log, images, labels, KEYS, *rest, **given)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state, log)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((images, labels, KEYS)))


def test_what_is_drawn_before_the_loop_is_what_each_step_would_draw(run, tiny_perceptron, tiny_data):
    shape = (BATCH_SIZE, *tiny_data[0].shape[1:])
    drawn = []

    def draw(key, step):
        drawn.append(step)
        return draw_step(key, step, shape, add_noise)

    ahead = run([2, 1], model=tiny_perceptron, static_length=True, draw_step=draw)
    assert len(drawn) == 2, "once a call, for all of its steps"
    in_turn = run([3], model=tiny_perceptron)
    assert int(ahead[0].step) == 3
    np.testing.assert_allclose(ahead[1].loss_sum, in_turn[1].loss_sum, rtol=1e-3, atol=1e-3)


def test_a_batch_over_several_devices_gives_the_same_up_to_rounding(
    run, train_steps, make_tiny_state, tiny_data
):
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    replicated, spread = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    arguments = (make_tiny_state(use_ema=True), EpochLog.empty(STEPS_PER_EPOCH), *tiny_data, KEYS)
    state, log = train_steps(static_length=False, batch_sharding=spread)(
        *jax.device_put(arguments, replicated), np.int32(6)
    )
    expected_state, expected_log = run([6])
    assert len(state.step.devices()) == 4
    np.testing.assert_allclose(log.loss_sum, expected_log.loss_sum, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(log.num_correct, expected_log.num_correct)
    assert_close(state.batch_stats, expected_state.batch_stats, atol=2e-3)
