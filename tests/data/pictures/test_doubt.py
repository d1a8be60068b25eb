"""What is no single digit, and which answers are unsure: the rule's parts on small arrays, then together."""

import numpy as np
import pytest

from mnist_jax.data.embedded import load_embedded
from mnist_jax.data.pictures import doubt
from mnist_jax.data.pictures.preparation import Preparation

DIGITS = tuple("0123456789")
MNIST = Preparation.of_data_set("mnist", (28, 28, 1))


@pytest.fixture(scope="module")
def digits():
    """The first 200 embedded digits, uint8 [200, 28, 28], and their labels."""
    train = load_embedded().train
    return train.images[:200, ..., 0], train.labels[:200]


def inked(*boxes):
    """Strokes in MNIST's form: rows and columns, ends exclusive."""
    image = np.zeros((28, 28), np.uint8)
    for top, bottom, left, right in boxes:
        image[top:bottom, left:right] = 255
    return image


def sure_of(label, probability=0.9):
    probabilities = np.full(10, (1 - probability) / 9, np.float32)
    probabilities[label] = probability
    return probabilities


@pytest.mark.parametrize(
    ("probabilities", "threshold", "expected"),
    [
        ([0.7, 0.2, 0.1], 0.4, ""),
        ([0.2, 0.7, 0.1], 0.75, "unsure: b or a?"),
        ([0.7, 0.2, 0.1], 0.7, ""),
        ([0.48, 0.46, 0.06], 0.4, "unsure: a or b?"),
        ([0.06, 0.48, 0.46], 0.0, ""),
        ([0.34, 0.33, 0.33], 0.0, ""),
        ([1.0, 0.0, 0.0], 1.0, ""),
    ],
)
def test_unlikely_and_close_answers_are_unsure(probabilities, threshold, expected):
    # Exact in binary where a threshold is met.
    probabilities = np.array(probabilities)
    assert doubt.unsure_between(probabilities, ("a", "b", "c"), threshold) == expected


def test_a_single_class_has_no_rival():
    assert doubt.unsure_between(np.array([0.3]), ("a",), 0.4) == "unsure: a?"


@pytest.mark.parametrize(
    "boxes",
    [
        [(4, 24, 12, 15)],  # a 1
        [(4, 24, 8, 11), (4, 7, 8, 20), (21, 24, 8, 20), (4, 24, 17, 20)],  # a 0
        [(8, 24, 8, 11), (14, 17, 8, 20), (14, 24, 17, 20), (4, 7, 10, 20)],  # a 5 with its bar apart
    ],
)
def test_ink_built_like_a_digit(boxes):
    assert doubt.has_build(inked(*boxes))


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [(4, 24, 6, 9), (4, 24, 18, 21)],  # two, side by side
        [(12, 15, 4, 24)],  # a line that lies
        [(7, 20, 7, 20)],  # a block
        [(4, 24, left, left + 2) for left in range(4, 24, 4)],  # hatching
        [(top, top + 2, 4, 24) for top in range(4, 24, 4)],
        [(4, 8, 4, 8), (4, 8, 20, 24), (20, 24, 4, 8), (20, 24, 20, 24)],  # dots
    ],
)
def test_ink_built_like_no_digit(boxes):
    assert not doubt.has_build(inked(*boxes))


def test_digits_are_answered_and_others_refused(digits):
    images, labels = digits
    reasons = [
        doubt.find_doubt(image[..., None], sure_of(label), DIGITS, MNIST)
        for image, label in zip(images, labels, strict=True)
    ]
    assert set(reasons) <= {"", "no single digit"} and reasons.count("") >= 0.99 * len(images)
    seven = images[labels == 7][0][..., None]
    assert doubt.find_doubt(seven, sure_of(7, 0.3), DIGITS, MNIST) == "unsure: 7 or 0?"


@pytest.mark.parametrize(
    ("names", "preparation"),
    [
        (tuple("ABCDEFGHIJ"), MNIST),
        (DIGITS, Preparation("resized", (28, 28, 1))),
        (DIGITS, Preparation.of_data_set("emnist/digits", (28, 28, 1))),
    ],
)
def test_only_digits_in_mnists_form_are_looked_at(names, preparation):
    block = inked((4, 24, 4, 24))[..., None]
    assert doubt.find_doubt(block, sure_of(3), names, preparation) == ""
    assert (
        doubt.find_doubt(block, sure_of(3, 0.3), names, preparation) == f"unsure: {names[3]} or {names[0]}?"
    )
    assert doubt.find_doubt(block, sure_of(3), DIGITS, MNIST) == "no single digit"
