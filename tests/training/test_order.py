"""The order of an epoch is a function of seed and epoch alone."""

import jax
import jax.numpy as jnp
import numpy as np

from mnist_jax.training.epoch import RunKeys
from mnist_jax.training.order import draw_order, epoch_order

KEYS = RunKeys.from_seed(0)


def test_the_order_is_a_permutation():
    for epoch in range(3):
        assert sorted(np.asarray(epoch_order(KEYS.shuffle, epoch, 100))) == list(range(100))


def test_the_order_is_a_function_of_seed_and_epoch():
    orders = {
        (seed, epoch): np.asarray(epoch_order(RunKeys.from_seed(seed).shuffle, epoch, 100))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({order.tobytes() for order in orders.values()}) == 4
    traced = jax.jit(lambda epoch: epoch_order(RunKeys.from_seed(1).shuffle, epoch, 100))(jnp.int32(1))
    np.testing.assert_array_equal(traced, orders[1, 1])


def test_orders_of_members_are_drawn_together():
    shuffle_keys = jnp.stack([RunKeys.from_seed(seed).shuffle for seed in (3, 4)])
    together = draw_order(shuffle_keys, 2, 50)
    for key, order in zip(shuffle_keys, together, strict=True):
        np.testing.assert_array_equal(order, epoch_order(key, 2, 50))
        np.testing.assert_array_equal(order, draw_order(key, 2, 50))
