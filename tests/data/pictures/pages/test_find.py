"""Digits are found on a page, whatever the light, the lines and the size; nothing else is."""

import io

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data.pictures.mnist_form import to_mnist
from mnist_jax.data.pictures.pages.find import find_groups, find_page, load_page
from mnist_jax.errors import DataError
from tests.data.pictures.conftest import STROKES, draw, saved
from tests.data.pictures.pages.conftest import on_paper, write

LINES = ["2792", "97", "729"]
INK, BOXES = write(LINES)
SHAPE = INK.shape
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def boxes_of(groups):
    return sorted(group.parts[0].box for group in groups)


def assert_found(groups, expected=BOXES, within=3):
    found, expected = np.array(boxes_of(groups)), np.array([box for line in expected for box in line])
    assert len(found) == len(expected)
    apart = np.abs(found[None] - expected[:, None]).max(axis=2)
    assert apart.min(axis=1).max() <= within


def in_cells(paper):
    """Each digit in a printed cell of its own."""
    paper = paper.copy()
    for top, left, bottom, right in (box for line in BOXES for box in line):
        t, l, b, r = top - 14, left - 10, bottom + 14, right + 10  # noqa: E741
        paper[t : t + 3, l:r] = paper[b - 3 : b, l:r] = 0.3
        paper[t:b, l : l + 3] = paper[t:b, r - 3 : r] = 0.3
    return paper


def with_specks(paper):
    paper = paper.copy()
    for row, column in ((20, 30), (460, 150), (30, 570), (300, 500)):
        paper[row : row + 5, column : column + 5] = 0.3
    return paper


PAGES = {
    "even sheet": lambda p: p,
    "light on dark": lambda p: 1 - p,
    "hard shadow": lambda p: p * np.where(X + 0.4 * Y > 350, 0.6, 1),
    "vignette": lambda p: p * (1 - 0.8 * ((X / SHAPE[1] - 0.5) ** 2 + (Y / SHAPE[0] - 0.5) ** 2)),
    "ruled": lambda p: p * np.where((Y + 0.02 * X) % 47 < 2, 0.75, 1),
    "grid": lambda p: p * np.where((Y % 41 < 2) | ((X + 0.02 * Y) % 41 < 2), 0.75, 1),
    "edge of a desk": lambda p: np.where(X < 12 + 0.03 * Y, 0.2, p),
    "cells": in_cells,
    "specks": with_specks,
    "noise": lambda p: p + np.random.default_rng(0).normal(0, 0.04, SHAPE),
}


@pytest.mark.parametrize("kind", PAGES)
def test_every_digit_is_found_and_nothing_else(kind):
    assert_found(find_groups(np.clip(PAGES[kind](on_paper(INK)), 0, 1)))


@pytest.mark.parametrize("name", STROKES)
def test_digits_have_the_form_they_would_have_alone(name):
    (group,) = find_groups(on_paper(write([name])[0]))
    alone = to_mnist(np.asarray(draw(STROKES[name])) / 255).astype(int)
    shifted = [np.roll(group.parts[0].image, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    assert min(np.abs(image - alone).mean() for image in shifted) < 16


def test_a_bar_that_does_not_touch_its_stem_is_of_the_same_digit():
    ink = np.zeros(SHAPE)
    for left in (100, 200, 300):
        ink[100:104, left + 16 : left + 40] = 1  # the bar of a 5
        ink[108:130, left : left + 6] = ink[126:132, left : left + 30] = 1
        ink[132:160, left + 24 : left + 30] = ink[156:162, left : left + 30] = 1
    assert [box[:2] for box in boxes_of(find_groups(on_paper(ink)))] == [(100, 100), (100, 200), (100, 300)]


def test_boxes_count_the_pixels_of_the_file():
    page = Image.fromarray(np.rint(255 * on_paper(INK)).astype(np.uint8)).resize((3000, 2500))
    found = load_page(saved(page.convert("RGB"), "JPEG"))
    assert found.shape == (2500, 3000) and max(found.gray.shape) <= 2048
    assert_found(found.groups, [[tuple(5 * v for v in box) for box in line] for line in BOXES], within=15)


def test_an_orientation_is_applied():
    sideways = Image.fromarray(np.rint(255 * on_paper(INK)).astype(np.uint8)).transpose(
        Image.Transpose.ROTATE_90
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    sideways.save(file, "JPEG", exif=exif)
    file.seek(0)
    found = load_page(file)
    assert found.shape == SHAPE
    assert_found(found.groups)


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_with_channels(channels):
    page = find_page(np.repeat(on_paper(INK)[..., None], channels, axis=2))
    assert_found(page.groups)
    np.testing.assert_allclose(page.gray, 255 * on_paper(INK), atol=1)


@pytest.mark.parametrize("kind", ["even sheet", "hard shadow", "ruled", "grid"])
def test_an_empty_page_is_blank_or_without_digits(kind):
    page = PAGES[kind](np.full(SHAPE, 0.8))
    try:
        assert find_groups(page) == []
    except DataError as error:
        assert "blank" in str(error)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (7, 3), (28, 28)])
def test_tiny_pictures_are_no_fault(shape):
    with pytest.raises(DataError, match="blank"):
        find_groups(np.full(shape, 0.5))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("even sheet", ["gray", "light divided out", "ink that may be digits"]),
        ("ruled", ["gray", "light divided out", "lines taken away", "ink that may be digits"]),
        (
            "cells",
            [
                *("gray", "light divided out", "lines taken away", "shorter lines taken away"),
                "ink that may be digits",
            ],
        ),
    ],
)
def test_what_each_step_made_of_a_page_is_kept_and_changes_nothing(kind, names):
    gray, kept = PAGES[kind](on_paper(INK)), []
    page = find_page(gray, steps=kept)
    assert boxes_of(page.groups) == boxes_of(find_page(gray).groups)
    assert [step.name for step in kept] == names
    np.testing.assert_array_equal(kept[0].image, page.gray)
    # In the end there is ink in the boxes, and none elsewhere.
    left = kept[-1].image.copy()
    for top, start, bottom, end in boxes_of(page.groups):
        assert left[top:bottom, start:end].max() > 100
        left[max(top - 2, 0) : bottom + 2, max(start - 2, 0) : end + 2] = 0
    assert left.max() < 60
