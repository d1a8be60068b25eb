"""What is said of a training that went wrong, and that nothing is said of one that went well."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.metrics.diagnosis import find_problems

NAMES = tuple("0123456789")


def confusion_of(accuracy, per_class=100, num_classes=10):
    """Counts with the errors spread evenly over the other classes, as far as whole numbers go."""
    right = round(accuracy * per_class)
    counts = np.full((num_classes, num_classes), 0)
    for true in range(num_classes):
        counts[true, true] = right
        for k in range(per_class - right):
            counts[true, (true + 1 + k % (num_classes - 1)) % num_classes] += 1
    return counts


def problems(train_accuracy, confusion, seen=10_000, counts=None):
    counts = np.full(len(confusion), 100) if counts is None else counts
    return find_problems(train_accuracy, counts, seen, confusion, NAMES[: len(confusion)])


def test_a_good_run_is_quiet():
    assert problems(0.996, confusion_of(0.996, 1000)) == []
    assert problems(0.93, confusion_of(0.95)) == []


def test_chance_in_evaluation_is_told_with_what_training_reached():
    (line,) = problems(0.96, confusion_of(0.33, per_class=60, num_classes=3))
    assert "test accuracy is 33.3%, no better than always guessing" in line and "96.0%" in line


def test_one_class_for_everything_is_told_twice():
    counts = np.zeros((10, 10), int)
    counts[:, 3] = 100
    at_chance, ignored = problems(0.98, counts)
    assert "10.0%" in at_chance
    assert "never predicted on test: '0', '1', '2', '4', '5' and 4 more" in ignored


def test_training_far_above_evaluation_is_told():
    (line,) = problems(0.98, confusion_of(0.6))
    assert "training accuracy is 98.0% but test accuracy only 60.0%" in line


def test_shuffled_labels_are_told_once():
    (line,) = problems(0.104, confusion_of(0.1))
    assert line.startswith("training accuracy is 10.4%, no better") and "labels belong to the images" in line


def test_a_class_that_is_never_predicted_is_named():
    counts = confusion_of(0.99)
    counts[:, 1] += counts[:, 7]
    counts[:, 7] = 0
    (line,) = problems(0.95, counts)
    assert line == "never predicted on test: '7'; check the training images of it, or train longer"


def test_six_pictures_prove_nothing():
    """Two of each class, three right: it may be chance, and it may be a network that is right on half."""
    assert problems(0.9, np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]]), seen=24) == []


def test_a_single_class_is_no_ground_for_a_warning():
    assert problems(1.0, np.array([[50]])) == []


def test_nothing_to_look_at_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        problems(0.9, np.zeros((3, 3), int))


@given(st.integers(2, 10), st.integers(1, 400), st.floats(0.9, 1.0))
def test_a_perfect_evaluation_never_warns(num_classes, per_class, train_accuracy):
    assert problems(train_accuracy, np.eye(num_classes, dtype=int) * per_class) == []


@given(st.integers(2, 10), st.integers(30, 400), st.floats(0.8, 1.0))
def test_chance_on_enough_images_always_warns(num_classes, per_class, train_accuracy):
    counts = np.zeros((num_classes, num_classes), int)
    counts[:, 0] = per_class
    assert problems(train_accuracy, counts)
