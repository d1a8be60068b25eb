"""The log of an epoch: each step in its place, one by one or many at once."""

import jax
import jax.numpy as jnp
import numpy as np

from mnist_jax.metrics.sums import Metrics
from mnist_jax.training.epoch_log import EpochLog, side_by_side


def test_the_log_keeps_each_step_in_its_place():
    log = EpochLog.empty(3)
    assert log.loss_sum.dtype == jnp.float32 and log.num_correct.dtype == jnp.int32
    log = log.record(jnp.int32(1), Metrics(jnp.float32(2.5), jnp.int32(7)))
    np.testing.assert_array_equal(log.loss_sum, [0, 2.5, 0])
    np.testing.assert_array_equal(log.num_correct, [0, 7, 0])


def test_several_steps_at_once_are_those_one_by_one():
    def step(state, _):
        return side_by_side(state + 1, Metrics(jnp.float32(0.1) * state, 2**24 - state))

    _, sums = jax.lax.scan(step, jnp.int32(0), length=3)
    one_by_one = at_once = EpochLog.empty(5).record(jnp.int32(0), Metrics(jnp.float32(9), jnp.int32(8)))
    for n in range(3):
        metrics = Metrics(jnp.float32(0.1) * n, jnp.int32(2**24 - n))
        one_by_one = one_by_one.record(jnp.int32(2 + n), metrics)
    at_once = at_once.record_steps(jnp.int32(2), sums)
    np.testing.assert_array_equal(at_once.loss_sum, one_by_one.loss_sum)
    np.testing.assert_array_equal(at_once.num_correct, one_by_one.num_correct)
    assert at_once.num_correct.dtype == jnp.int32
