"""The pen's path over a digit, which the browser's tests replay."""

import numpy as np

from tests.demo.strokes import strokes_of


def test_a_bar_is_one_stroke_along_its_middle():
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 12:15] = 255
    (stroke,) = strokes_of(image)
    np.testing.assert_allclose(stroke[:, 0], 13.5 / 28, atol=0.03)
    top, bottom = sorted(stroke[[0, -1], 1])
    assert top < 7 / 28 and bottom > 21 / 28
    assert (np.abs(np.diff(stroke[:, 1])) < 2 / 28).all()


def test_a_ring_is_closed_and_a_second_part_is_a_stroke_of_its_own():
    rows, columns = np.mgrid[:28, :28] - 13.5
    radius = np.hypot(rows, columns)
    image = np.where(np.abs(radius - 9) < 1.5, 255, 0).astype(np.uint8)
    image[12:16, 11:17] = 255
    strokes = sorted(strokes_of(image), key=len)
    assert len(strokes) == 2
    ring = strokes[1]
    assert np.hypot(*(ring[0] - ring[-1])) < 2 / 28
    np.testing.assert_allclose(np.hypot(*(ring - 0.5).T), 9 / 28, atol=1.2 / 28)
