"""Lines that lean: found, laid along rows, and back."""

import numpy as np
import pytest

from mnist_jax.data.pictures.slope import best_slope, shear, shift_by


@pytest.mark.parametrize("slope", [-0.05, 0.0, 0.021])
def test_the_best_slope_is_as_near_as_half_a_step(slope):
    assert best_slope(lambda tried: -abs(tried - slope), 0.06, 13) == pytest.approx(slope, abs=0.0026)


@pytest.mark.parametrize("slope", [-0.05, 0.03])
def test_a_line_that_leans_lies_along_a_row_after_shearing_and_leans_again_after_the_negative(slope):
    width, shift = 120, shift_by(slope, 120)
    plane = np.zeros((60, width))
    plane[30 + shift, np.arange(width)] = 1
    level = shear(plane, shift)
    np.testing.assert_array_equal(np.flatnonzero(level.all(axis=1)), [30])
    assert level.sum() == width
    np.testing.assert_array_equal(shear(level, -shift), plane)
