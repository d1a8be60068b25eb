"""Pictures of any size come to one size, their aspect kept."""

import numpy as np
import pytest

from mnist_jax.data.pictures.fit import choose_size, fit_to_shape


def test_fit_to_shape_resizes_and_changes_channels(digit):
    gray = digit / 255
    np.testing.assert_array_equal(fit_to_shape(gray, (28, 28, 1))[..., 0], digit)
    color = fit_to_shape(gray, (14, 14, 3))
    assert color.dtype == np.uint8
    np.testing.assert_array_equal(color[..., 0], color[..., 2])
    np.testing.assert_allclose(color[..., 0], digit.reshape(14, 2, 14, 2).mean((1, 3)), atol=0.51)
    back = fit_to_shape(color / 255, (14, 14, 1))
    np.testing.assert_allclose(back, color[..., :1], atol=1)
    with pytest.raises(ValueError, match="1 or 3 channels are needed"):
        fit_to_shape(np.zeros((4, 4, 2)), (28, 28, 1))


def test_the_aspect_is_kept_by_padding_with_the_tone_of_the_border():
    wide = np.full((20, 60, 3), (0.2, 0.4, 0.6), np.float32)
    wide[8:12, 20:40] = 1
    result = fit_to_shape(wide, (30, 30, 3))
    np.testing.assert_array_equal(result[[0, 9, 20, 29], 15], np.tile([51, 102, 153], (4, 1)))
    rows, columns = np.nonzero(result[..., 0] > 200)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (2, 10)
    np.testing.assert_array_equal(fit_to_shape(wide.transpose(1, 0, 2), (30, 30, 3)), result.swapaxes(0, 1))


def test_small_pictures_are_enlarged_smoothly():
    steps = np.repeat(np.array([[0.0, 1.0]], np.float32), 2, axis=0)
    assert len(np.unique(fit_to_shape(steps, (16, 16, 1)))) > 4


@pytest.mark.parametrize(
    ("sizes", "image_size", "expected"),
    [
        ([(28, 28)], 0, (28, 28)),
        ([(24, 32)], 0, (24, 32)),
        ([(64, 64)], 0, (64, 64)),
        ([(8, 8)], 0, (28, 28)),
        ([(300, 400)], 0, (48, 64)),
        ([(1000, 50)], 0, (64, 16)),
        ([(300, 400)], 32, (24, 32)),
        ([(24, 32)], 32, (24, 32)),
        ([(28, 28)], 56, (56, 56)),
        ([(60, 80), (220, 100), (70, 90)], 0, (64, 64)),
        ([(30, 40), (40, 30), (20, 35)], 0, (40, 40)),
        ([(10, 12), (12, 10)], 0, (28, 28)),
        ([(60, 80), (220, 100)], 20, (20, 20)),
        ([(60, 80)], 8, (8, 8)),
    ],
)
def test_a_size_that_suits_is_chosen(sizes, image_size, expected):
    repeated = np.array(sizes * 3 if len(sizes) == 1 else sizes)
    assert choose_size(repeated, image_size) == expected
