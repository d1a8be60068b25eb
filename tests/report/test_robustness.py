"""What stays right of images that are changed little by little."""

import numpy as np
import pytest
from scipy import ndimage

from mnist_jax.report.robustness import CHANGES, NUM_IMAGES, accuracy_by_change, by_name, change, change_all


def spot(row, column, shape=(28, 28, 1)):
    images = np.zeros((2, *shape), np.uint8)
    images[1, row, column] = 200
    return images


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("shape", [(28, 28, 1), (20, 31, 3)])
def test_each_change_leaves_an_image_as_it_is_at_one_of_its_amounts(name, shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    unchanged = 1.0 if name == "scale" else 0.0
    assert unchanged in CHANGES[name]
    np.testing.assert_array_equal(change(images, name, unchanged), images)


def test_shifts_go_to_the_right_and_down():
    np.testing.assert_array_equal(change(spot(10, 12), "shift right", 4.0), spot(10, 16))
    np.testing.assert_array_equal(change(spot(10, 12), "shift down", -6.0), spot(4, 12))


def test_a_turn_is_clockwise_about_the_center():
    # 5 to the right of the center becomes 5 below it; rows and columns count from 0 to 28.
    turned = change(spot(14, 19, (29, 29, 1)), "rotation", 90.0)
    np.testing.assert_array_equal(turned, spot(19, 14, (29, 29, 1)))


def test_a_scale_above_one_enlarges():
    images = np.zeros((1, 29, 29, 1), np.uint8)
    images[0, 10:19, 10:19] = 255
    assert (change(images, "scale", 1.5) > 127).sum() == 13**2
    assert (change(images, "scale", 0.5) > 127).sum() == 5**2


@pytest.mark.parametrize(
    "name, amount, matrix, shift",
    [
        ("rotation", 20.0, [[0.93969262, -0.34202014], [0.34202014, 0.93969262]], (0, 0)),
        ("scale", 0.8, [[1.25, 0], [0, 1.25]], (0, 0)),
        ("shift right", 2.5, [[1, 0], [0, 1]], (0, -2.5)),
        ("shift down", -30.0, [[1, 0], [0, 1]], (30, 0)),
    ],
)
def test_pixels_are_those_of_scipy(name, amount, matrix, shift):
    images = np.random.default_rng(1).integers(0, 256, (4, 20, 31, 3), np.uint8)
    center = np.array([9.5, 15])
    offset = center - np.array(matrix) @ center + shift
    planes = images.astype(np.float32).transpose(0, 3, 1, 2).reshape(-1, 20, 31)
    expected = [ndimage.affine_transform(p, matrix, offset, order=1, mode="nearest") for p in planes]
    expected = np.reshape(expected, (4, 3, 20, 31)).transpose(0, 2, 3, 1)
    changed = change(images, name, amount)
    assert changed.shape == images.shape and changed.dtype == np.uint8
    # To rounding, a half tone and what float32 leaves.
    assert np.abs(changed - expected).max() <= 0.51


def test_an_image_of_one_pixel_stays():
    images = np.full((2, 1, 1, 1), 77, np.uint8)
    np.testing.assert_array_equal(change(images, "rotation", 30.0), images)


def test_accuracy_is_counted_for_each_change():
    labels = np.arange(600) % 2
    images = np.zeros((600, 28, 28, 1), np.uint8)
    images[labels == 1, 12:16, 12:16] = 255
    taken, changed = change_all(images, labels)
    assert len(taken) == NUM_IMAGES
    assert len(changed) == NUM_IMAGES * sum(map(len, CHANGES.values()))
    # Class 1 is found by its light in the middle four pixels.
    light = changed[:, 13:15, 13:15].mean(axis=(1, 2, 3)) / 255
    accuracies = by_name(accuracy_by_change(np.stack([1 - light, light], axis=1), taken))
    assert list(accuracies) == list(CHANGES)
    np.testing.assert_array_equal(accuracies["rotation"], 1)
    moved = dict(zip(CHANGES["shift right"], accuracies["shift right"], strict=True))
    assert moved[0] == 1 and moved[6] == moved[-6] == pytest.approx(0.5, abs=0.01)
    few, changed = change_all(images[:7], labels[:7])
    assert few.tolist() == labels[:7].tolist() and len(changed) == 7 * sum(map(len, CHANGES.values()))
