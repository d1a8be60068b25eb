"""Groups stay together, numbers are exact, strata and classes are as promised."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mnist_jax.data.grouped_split import draw_groups


@given(st.lists(st.integers(1, 12), min_size=2, max_size=40), st.data())
def test_whole_groups_that_add_up_are_drawn(sizes, data):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    order = np.random.default_rng(0).permutation(len(groups))
    groups = groups[order]
    labels = groups % 3
    num_drawn = data.draw(st.integers(1, len(groups) - 1))
    sums = {0}
    for size in sizes:
        sums |= {total + size for total in sums}
    if num_drawn not in sums:
        nearest = max(total for total in sums if total < num_drawn)
        with pytest.raises(ValueError, match=f"have {num_drawn} examples; the nearest is {nearest}$"):
            draw_groups(labels, groups, None, num_drawn)
        return
    drawn = draw_groups(labels, groups, None, num_drawn)
    assert len(drawn) == len(set(drawn)) == num_drawn and (np.diff(drawn) > 0).all()
    rest = np.setdiff1d(np.arange(len(groups)), drawn)
    assert not set(groups[drawn]) & set(groups[rest])
    np.testing.assert_array_equal(draw_groups(labels, groups, None, num_drawn), drawn)


@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 60))
def test_strata_give_as_many_as_long_as_half_of_each_stays(num_first, num_second, num_drawn):
    """Groups of one example, so that every number adds up."""
    total = num_first + num_second
    assume(num_drawn <= total // 2 - 1)
    strata = np.repeat([5, 9], [num_first, num_second])
    drawn = draw_groups(np.zeros(total, int), np.arange(total), strata, num_drawn)
    fewer, more = sorted(np.bincount(strata[drawn], minlength=10)[[5, 9]])
    assert fewer + more == num_drawn
    assert more - fewer <= 1 or fewer == min(num_first, num_second) // 2


def test_the_draw_with_the_likest_classes_is_taken():
    """Twenty groups of one class each: any two add up to a half of each class only if one is of each."""
    groups, labels = np.repeat(np.arange(20), 5), np.repeat(np.arange(20) % 2, 5)
    drawn = draw_groups(labels, groups, None, 10)
    assert np.bincount(labels[drawn]).tolist() == [5, 5]
    assert set(groups[drawn]) != set(groups[draw_groups(labels, groups, None, 10, seed=1)])
