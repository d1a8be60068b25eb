"""Made-up pictures of what is no digit: each kind leaves ink or none, and refusals are counted by kind."""

import numpy as np
import pytest

from benchmarks import non_digits
from benchmarks.photographs import prepare
from mnist_jax.data.pictures.preparation import Preparation


class FakeModel:
    class_names = tuple("0123456789")
    preparation = Preparation("mnist", (28, 28, 1))

    def predict(self, images):
        probabilities = np.full((len(images), 10), 0.01, np.float32)
        probabilities[:, 1] = np.where(images.any(axis=(1, 2, 3)), 0.91, 0.2)
        return probabilities


@pytest.fixture(scope="module")
def made():
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 12:16] = 255
    return non_digits.make_non_digits(np.stack([digit] * 4), 2, seed=5)


def test_each_kind_is_made_and_most_leave_ink(made):
    assert [picture.kind for picture in made] == [kind for kind in non_digits.KINDS for _ in range(2)]
    _, is_read = prepare(made, FakeModel.preparation)
    assert is_read[:10].all()


def test_refusals_are_counted_by_kind():
    one, two = np.zeros((2, 28, 28, 1), np.uint8)
    one[4:24, 12:15] = 255
    two[4:24, [6, 7, 8, 18, 19, 20]] = 255
    kinds = np.array(["letters", "letters", "scribbles"])
    images, is_read = np.stack([one, two, 0 * one]), np.array([True, True, False])
    rows = non_digits.refused(FakeModel(), images, is_read, kinds)
    assert list(rows["letters"].values()) == [2, 0, 1, 0]
    assert list(rows["scribbles"].values()) == [1, 1, 0, 0]
    last = non_digits.table({**rows, "test digits": rows["letters"]}).splitlines()[-1]
    assert last == "| all that are no digits | 3 | 1 | 1 | 0 | 2 (66.67%) |"
