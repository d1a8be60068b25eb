"""A device draws its own rows, and they are those of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.ops.random_rows import can_start_at_a_row, start_at_row

KEY = jax.random.fold_in(jax.random.key(7), 3)


@pytest.mark.parametrize(
    "draw", [jax.random.bernoulli, jax.random.uniform, jax.random.bits], ids=["bernoulli", "uniform", "bits"]
)
def test_rows_are_those_of_the_whole(draw):
    whole = draw(KEY, shape=(12, 5, 3))
    for row in (0, 4, 11):
        rows = jax.jit(lambda key, row: draw(start_at_row(key, row), shape=(12 - 4, 5, 3)))(KEY, row)
        np.testing.assert_array_equal(rows[: 12 - row], whole[row : row + 8])


def test_a_number_of_64_bits_too():
    with jax.enable_x64(True):
        whole = jax.random.uniform(KEY, (6, 4), jnp.float64)
        rows = jax.random.uniform(start_at_row(KEY, 2), (4, 4), jnp.float64)
        assert rows.dtype == np.float64
        np.testing.assert_array_equal(rows, whole[2:])


def test_other_generators_are_told_apart():
    assert can_start_at_a_row(KEY)
    assert not can_start_at_a_row(jax.random.key(0, impl="rbg"))


def test_it_cannot_be_split():
    with pytest.raises(NotImplementedError, match="split the key that it was made of"):
        jax.random.split(start_at_row(KEY, 1))
