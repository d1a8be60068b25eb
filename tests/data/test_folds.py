"""Folds: groups whole, sizes, classes and strata even, the same each time."""

import numpy as np
import pytest

from mnist_jax.data.folds import assign_folds
from mnist_jax.data.writers import read_writers


def test_without_groups_each_class_is_dealt_out():
    labels = np.random.default_rng(0).integers(0, 3, 101)
    folds = assign_folds(labels, None, None, 5)
    assert np.ptp(np.bincount(folds, minlength=5)) <= 1
    for label in range(3):
        assert np.ptp(np.bincount(folds[labels == label], minlength=5)) <= 1
    np.testing.assert_array_equal(assign_folds(labels, None, None, 5), folds)
    assert (assign_folds(labels, None, None, 5, seed=1) != folds).any()


@pytest.mark.parametrize("with_strata", [False, True])
def test_groups_stay_whole_and_everything_is_even(with_strata):
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(60) * 7, rng.integers(10, 40, 60)))
    labels = rng.integers(0, 4, len(groups))
    strata = groups % 2 if with_strata else None
    folds = assign_folds(labels, groups, strata, 5)
    assert all(len(np.unique(folds[groups == group])) == 1 for group in np.unique(groups))
    sizes = np.bincount(folds, minlength=5)
    assert sizes.sum() == len(groups) and np.ptp(sizes) <= 0.1 * sizes.mean()
    for label in range(4):
        assert np.ptp(np.bincount(folds[labels == label], minlength=5)) <= 0.3 * (labels == label).sum() / 5
    if with_strata:
        assert np.ptp(np.bincount(folds[strata == 0], minlength=5)) <= 0.15 * (strata == 0).sum() / 5
    np.testing.assert_array_equal(assign_folds(labels, groups, strata, 5), folds)


def test_mnists_writers_make_five_folds_like_the_whole():
    """The labels are drawn here: MNIST's are not in the package."""
    writers, series = read_writers()
    labels = np.random.default_rng(0).integers(0, 10, 60_000)
    folds = assign_folds(labels, writers, series, 5)
    assert all(len(np.unique(folds[writers == writer])) == 1 for writer in np.unique(writers))
    assert np.abs(np.bincount(folds) / 60_000 - 0.2).max() < 0.002
    for fold in range(5):
        assert np.mean(series[folds == fold] == 0) == pytest.approx(np.mean(series == 0), abs=0.005)
        shares = np.bincount(labels[folds == fold]) / np.sum(folds == fold)
        assert np.abs(shares - np.bincount(labels) / 60_000).max() < 0.005


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (None, "5 folds need as many images; there are 4"),
        ([0, 0, 1, 1], "5 folds need as many groups .*are 2"),
    ],
)
def test_too_few_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        assign_folds(np.zeros(4, int), None if groups is None else np.array(groups), None, 5)
