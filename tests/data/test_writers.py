"""MNIST's writers and disputed labels, in the package and on the real images."""

import hashlib

import numpy as np
import pytest

from mnist_jax.data import load_splits
from mnist_jax.data.writers import TEST_SHA256, count_disputed_errors, disputed_labels, read_writers
from mnist_jax.terminal.format import describe_disputed


def test_the_table_has_539_writers_each_of_one_series():
    writers, series = read_writers()
    assert writers.shape == series.shape == (60_000,)
    assert len(set(writers)) == 539 and set(series) == {0, 4}
    assert len(set(zip(writers, series, strict=True))) == 539
    # Of QMNIST's first row.
    assert (writers[0], series[0]) == (2154, 4)


def test_fifteen_labels_of_mnists_test_set_are_disputed_and_none_of_another():
    disputed = disputed_labels(TEST_SHA256)
    assert len(disputed) == 15
    assert disputed[947] == "0 of 5 keep it, 5 say 9"
    assert disputed_labels("0" * 64) == {}


def test_errors_on_disputed_labels_are_counted_beside_all_others(real_mnist):
    labels = load_splits("mnist", data_dir=real_mnist).test.labels
    right = {"images": 15, "errors": 0, "as_reviewers": 0}
    assert count_disputed_errors(TEST_SHA256, labels) == right
    predicted = labels.copy()
    # As all five reviewers, as nobody, as many as kept the label, and an undisputed error.
    predicted[[947, 2597, 2130, 0]] = 9, 8, 9, 1
    found = count_disputed_errors(TEST_SHA256, predicted)
    assert found == {"images": 15, "errors": 3, "as_reviewers": 1}
    assert describe_disputed(found) == (
        "3 on the 15 test labels that reviewers dispute; of 1 more reviewers say the answer than the label"
    )
    assert count_disputed_errors("0" * 64, predicted) is None
    assert count_disputed_errors(TEST_SHA256, None) is None


@pytest.mark.parametrize("num_examples", [1000, 5000, 10_000])
def test_validation_by_writers_is_as_the_test_set(real_mnist, num_examples):
    dataset = load_splits("mnist", data_dir=real_mnist).train
    train, validation = dataset.hold_out(num_examples, "writers")
    assert (train.num_examples, validation.num_examples) == (60_000 - num_examples, num_examples)
    assert not set(train.groups) & set(validation.groups)
    assert np.bincount(validation.strata)[[0, 4]].tolist() == [num_examples // 2] * 2
    shares = [np.bincount(part.labels) / part.num_examples for part in (validation, dataset)]
    assert np.abs(shares[0] - shares[1]).max() < 0.005


def test_the_split_is_the_same_on_every_machine(real_mnist):
    writers = load_splits("mnist", data_dir=real_mnist).train.hold_out(5000, "writers")[1].groups
    digest = hashlib.sha256(writers.astype("<i4").tobytes()).hexdigest()
    assert digest == "002fea8b0d82c6ca3d6d433d73132bf3048d7ce03049cb90b26ced0cf2148c67"


def test_the_disputed_labels_are_those_of_the_test_set(real_mnist):
    test = load_splits("mnist", data_dir=real_mnist).test
    assert test.sha256 == TEST_SHA256
    assert test.labels[[947, 9729]].tolist() == [8, 5]
