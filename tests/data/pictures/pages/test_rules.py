"""Printed lines are taken away, wherever they end and however they lean; strokes across them stay."""

import numpy as np
import pytest

from mnist_jax.data.pictures.pages.rules import find_slope, remove_rules
from tests.data.pictures.pages.conftest import write

SHAPE = (500, 600)


def ruled(slope=0.0, step=47, tone=0.25, width=2, turned=False):
    shape = SHAPE[::-1] if turned else SHAPE
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    lines = np.where((rows - slope * columns) % step < width, tone, 0.0)
    return lines.T if turned else lines


@pytest.mark.parametrize("slope", [-0.06, -0.013, 0.0, 0.031])
def test_slope_of_lines(slope):
    assert find_slope(ruled(slope)) == pytest.approx(slope, abs=0.006)


@pytest.mark.parametrize("slope", [-0.05, 0.0, 0.02])
@pytest.mark.parametrize("tone", [0.2, 0.6])
@pytest.mark.parametrize("is_grid", [False, True])
def test_lines_go_and_strokes_stay(slope, tone, is_grid):
    ink = 0.75 * write(["279279", "9 2 7".replace(" ", "")])[0]
    lines = ruled(slope, tone=tone)
    if is_grid:
        lines = np.maximum(lines, ruled(-slope, tone=tone, turned=True))
    left, is_line = remove_rules(np.maximum(ink, lines), length=150.0, noise=0.005)
    on_sheet = ink == 0
    assert np.median(left[ink > 0.7]) == pytest.approx(0.75)
    # A line as dark as ink takes what lies along it, not what crosses it.
    assert (left[ink > 0.7] > 0.4).mean() > (0.9 if tone < 0.5 else 0.65)
    assert (left[on_sheet & (lines > 0)] > 0.1).mean() < 0.05
    assert is_line[lines > 0].mean() > 0.95


def test_lines_of_a_table_end_within_the_page():
    table = np.zeros(SHAPE)
    for row in (100, 180, 260):
        table[row : row + 3, 80:480] = 0.6
    for column in range(80, 481, 100):
        table[100:263, column : column + 3] = 0.6
    left, is_line = remove_rules(table, length=120.0, noise=0.0)
    assert (left > 0.1).sum() == 0
    assert is_line[table > 0].all() and is_line.mean() < 0.1


def test_strokes_and_thick_bars_are_no_lines():
    flat = np.zeros(SHAPE)
    flat[100:190, 50:60] = 0.75
    flat[300:340, 100:500] = 0.75
    left, is_line = remove_rules(flat, length=150.0, noise=0.0)
    np.testing.assert_array_equal(left, flat)
    assert not is_line.any()


def test_pictures_shorter_than_a_line_have_none():
    flat = np.full((5, 9), 0.5)
    np.testing.assert_array_equal(remove_rules(flat, length=20.0, noise=0.0).flat, flat)
