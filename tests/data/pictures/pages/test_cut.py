"""Ink of digits that touch comes apart where they touch."""

import numpy as np
import pytest

from mnist_jax.data.pictures.pages.cut import find_parts
from tests.data.pictures.pages.conftest import HEIGHT, ink_of


def touching(left="2", right="9", overlap=3):
    a, b = ink_of(left), ink_of(right)
    height = max(a.shape[0], b.shape[0])
    ink = np.zeros((height, a.shape[1] + b.shape[1] - overlap))
    ink[: a.shape[0], : a.shape[1]] = a
    place = ink[: b.shape[0], a.shape[1] - overlap :]
    np.maximum(place, b, out=place)
    return ink, a, b


def padded(part, shape, right=False):
    whole = np.zeros(shape)
    whole[: part.shape[0], slice(-part.shape[1], None) if right else slice(part.shape[1])] = part
    return whole


@pytest.mark.parametrize("names", ["22", "29", "97", "72"])
def test_two_digits_are_among_the_parts(names):
    ink, a, b = touching(*names)
    cut_ink, parts = find_parts(ink, float(HEIGHT))
    assert parts[0][:2] == (0, len(cut_ink) - 1)
    np.testing.assert_array_equal(parts[0][2], ink)
    for start, end, digit in (
        (0, None, padded(a, ink.shape)),
        (None, len(cut_ink) - 1, padded(b, ink.shape, True)),
    ):
        apart = [
            np.abs(part - digit).sum() / digit.sum()
            for first, last, part in parts
            if (first == start or last == end) and (first, last) != (0, len(cut_ink) - 1)
        ]
        assert min(apart) < 0.2
    assert cut_ink[0] == cut_ink[-1] == 0 and all(ink >= 0 for ink in cut_ink)


def test_digits_above_each_other_are_cut_across():
    ink = np.concatenate([ink_of("2"), ink_of("2")])[:, :]
    _, parts = find_parts(ink, float(HEIGHT))
    half = ink.shape[0] // 2
    above = [part for _, _, part in parts[1:] if part[:half].sum() > 0.9 * part.sum()]
    assert max(part.sum() for part in above) > 0.45 * ink.sum()


def test_a_narrow_digit_is_not_cut():
    ink = np.ones((60, 12))
    assert [part[:2] for part in find_parts(ink, float(HEIGHT))[1]] == [(0, 1)]
