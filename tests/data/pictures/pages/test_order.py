"""Reading order: lines from the top, digits from the left, also where the page is turned or sizes differ."""

import numpy as np
import pytest

from mnist_jax.data.pictures.pages.order import into_lines


def grid(rows=4, columns=6, side=40, pitch=60):
    corners = [(pitch * row, pitch * column) for row in range(rows) for column in range(columns)]
    return np.array([(y, x, y + side, x + side) for y, x in corners], float)


def turned(boxes, degrees):
    turn = np.deg2rad(degrees)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    moved = center @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([moved - half, moved + half], axis=1)


@pytest.mark.parametrize("degrees", [-5, -3, 0, 2, 5])
def test_lines_lean_as_the_page_does(degrees):
    boxes = turned(grid(), degrees)
    shuffled = np.random.default_rng(0).permutation(len(boxes))
    lines = into_lines(boxes[shuffled])
    assert [[int(shuffled[i]) for i in line] for line in lines] == np.arange(24).reshape(4, 6).tolist()


def test_small_and_large_digits_share_a_line():
    boxes = np.array(
        [(0, 0, 80, 50), (45, 60, 80, 80), (10, 90, 75, 140), (100, 0, 180, 50), (150, 60, 182, 80)],
        float,
    )
    assert into_lines(boxes) == [[0, 1, 2], [3, 4]]


def test_lines_of_one_and_none():
    assert into_lines(np.array([(5.0, 5.0, 9.0, 9.0)])) == [[0]]
    assert into_lines(np.zeros((0, 4))) == []
