"""One preparation for training and for every picture after it."""

import json

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.errors import DataError
from tests.data.pictures.conftest import saved

SHAPE = (28, 28, 1)


def test_it_is_kept_as_json():
    chosen = Preparation("resized", (24, 32, 3), white=4095.0, background=0.0)
    assert Preparation.from_dict(json.loads(json.dumps(chosen.as_dict()))) == chosen


@pytest.mark.parametrize("name", ["mnist", "mnist_5k", "emnist/letters"])
def test_digits_and_letters_are_brought_to_their_form(name, digit):
    preparation = Preparation.of_data_set(name, SHAPE)
    assert preparation.form == "mnist"
    if name.startswith("mnist"):
        for pixels in (digit, 255 - digit):
            np.testing.assert_array_equal(preparation.load(saved(Image.fromarray(pixels)))[..., 0], digit)
    with pytest.raises(DataError, match="blank"):
        preparation.apply(np.zeros((28, 28), np.float32))


def test_other_data_is_only_resized(digit):
    preparation = Preparation.of_data_set("fashion_mnist", SHAPE)
    negative = np.float32(255 - digit) / 255
    np.testing.assert_array_equal(preparation.apply(negative)[..., 0], 255 - digit)
    np.testing.assert_array_equal(Preparation.of_data_set("mnist", (28, 28, 3)).form, "resized")
    small = Preparation.of_data_set("kmnist", (14, 14, 1)).apply(negative)
    assert small.shape == (14, 14, 1)


def test_emnist_has_a_larger_box(digit):
    sheet = np.pad(np.float32(digit) / 255, 20)
    sides = {}
    for name in ("mnist", "emnist/letters"):
        rows, columns = np.nonzero(Preparation.of_data_set(name, SHAPE).apply(sheet)[..., 0] > 80)
        sides[name] = 1 + max(np.ptp(rows), np.ptp(columns))
    assert sides == {"mnist": 20, "emnist/letters": 24}


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("form", ["mnist", "resized"])
def test_sixteen_bits_are_read_whatever_they_hold(digit, bits, form):
    deep = (digit.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    read = Preparation(form, SHAPE, white=2.0**bits - 1).load(saved(Image.fromarray(deep)))
    np.testing.assert_allclose(read[..., 0].astype(int), digit, atol=1)


def test_a_gray_picture_is_the_same_read_as_gray_or_as_color(digit):
    preparation = Preparation("resized", (20, 24, 1))
    gray = preparation.load(saved(Image.fromarray(digit)))
    np.testing.assert_array_equal(preparation.load(saved(Image.fromarray(digit).convert("RGB"))), gray)
    color = Preparation("resized", (20, 24, 3)).load(saved(Image.fromarray(digit)))
    np.testing.assert_array_equal(color, np.repeat(gray, 3, axis=-1))
