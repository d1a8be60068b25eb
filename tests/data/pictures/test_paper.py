"""A character comes out of a photographed sheet: each step by itself, then all of them."""

import numpy as np
import pytest

from mnist_jax.data.pictures import paper
from mnist_jax.data.pictures.mnist_form import to_mnist
from mnist_jax.errors import DataError
from tests.data.pictures.conftest import STROKES, draw

SIDE = 200


def position():
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    return rows, columns


def written(name="7", sheet=0.8):
    """A character in dark ink on an even sheet, or on the one given."""
    ink = np.asarray(draw(STROKES[name], side=SIDE, pen=14)) / 255
    return sheet * (1 - 0.75 * ink)


def lines(slope=0.0, share=0.25, step=31):
    """What ruled lines, two pixels wide, leave of the light."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.where((rows + slope * columns) % step < 2, 1 - share, 1.0)


def test_reduced_picture_is_the_mean_of_squares():
    plane = np.arange(24.0).reshape(4, 6)
    np.testing.assert_array_equal(paper.reduce_to(plane, 3), [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])
    assert paper.reduce_to(plane, 6) is plane
    assert paper.reduce_to(np.zeros((1, 1000))).shape == (1, 1000)


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_reduced_tones_are_exact(factor):
    tones = np.random.default_rng(0).integers(0, 256, (50, 60)).astype(np.float32) / np.float32(255)
    height, width = 50 // factor, 60 // factor
    blocks = tones[: height * factor, : width * factor].reshape(height, factor, width, factor)
    reduced = paper.reduce_to(tones.astype(np.float64), -(-60 // factor))
    np.testing.assert_array_equal(reduced, blocks.mean(axis=(1, 3), dtype=np.float64))


@pytest.mark.parametrize("name", STROKES)
def test_ink_is_told_from_shadows(name):
    rows, columns = position()
    picture = written(name) * np.where(columns + 0.4 * rows > 0.75, 0.6, 1)
    assert paper.has_dark_ink(picture)
    assert not paper.has_dark_ink(1 - picture)


def test_a_shadow_and_an_edge_are_divided_out_and_strokes_are_not():
    rows, columns = position()
    shadow = np.where(columns + 0.4 * rows > 0.75, 0.6, 1) * np.where(columns < 0.05, 0.3, 1)
    flat = paper.divide_light_out(written() * shadow)
    on_sheet = written() == 0.8
    assert np.abs(flat[on_sheet]).mean() < 0.03
    np.testing.assert_allclose(np.median(flat[written() < 0.21]), 0.75, atol=0.05)


@pytest.mark.parametrize("slope", [0.0, 0.03, -0.05])
@pytest.mark.parametrize("turned", [False, True])
def test_lines_across_the_sheet_are_removed_and_strokes_across_lines_stay(slope, turned):
    ruling = lines(slope).T if turned else lines(slope)
    without, has_lines = paper.remove_lines(1 - ruling * written(sheet=1.0))
    assert has_lines
    np.testing.assert_allclose(np.median(without[written(sheet=1.0) < 0.26]), 0.75, atol=0.06)
    left = np.abs(without[written(sheet=1.0) == 1.0])
    assert left.mean() < 0.3 * (1 - ruling).mean()


@pytest.mark.parametrize("rows", [slice(20, 180), slice(0, 150)])
def test_a_stroke_that_does_not_run_from_side_to_side_is_no_line(rows):
    flat = np.zeros((SIDE, SIDE))
    flat[rows, 95:105] = 0.8
    without, has_lines = paper.remove_lines(flat)
    assert not has_lines
    np.testing.assert_array_equal(without, flat)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_line_that_ends_before_one_side_is_no_line(side):
    flat = np.zeros((SIDE, SIDE))
    flat[97:100, :150] = 0.3
    flat = flat if side == "right" else flat[:, ::-1]
    without, has_lines = paper.remove_lines(flat)
    assert not has_lines
    np.testing.assert_array_equal(without, flat)


def test_a_speck_two_pixels_from_a_stroke_is_kept_as_its_part_and_one_far_away_is_not():
    ink = np.zeros((SIDE, SIDE))
    ink[60:140, 95:105] = 1.0
    ink[60:62, 107:109] = ink[142:144, 95:97] = 0.6
    alone = ink.copy()
    ink[30:32, 30:32] = 0.6
    np.testing.assert_array_equal(paper.select_character(ink), alone)


def test_frames_specks_and_what_touches_the_border_are_no_part_of_a_character():
    character, other = np.zeros((2, SIDE, SIDE))
    character[60:140, 95:105] = 1.0
    character[60:70, 80:92] = 1.0  # a part that does not touch, two pixels away
    other[20:23, 20:180] = other[177:180, 20:180] = other[20:180, 20:23] = other[20:180, 177:180] = 0.9
    other[:, :12] = 1.0
    other[150:153, 40:43] = 0.8
    np.testing.assert_array_equal(paper.select_character(character + other), character)
    np.testing.assert_array_equal(paper.select_character(character), character)


def test_a_character_cut_off_by_the_border_stays():
    cut = np.zeros((50, 50))
    cut[:, 20:26] = 1.0
    cut[10, 40] = 0.7
    assert paper.select_character(cut)[:, 20:26].all()


def on_white_canvas(picture):
    canvas = np.ones((2 * SIDE, 2 * SIDE))
    canvas[90 : 90 + SIDE, 150 : 150 + SIDE] = picture
    return canvas


def with_frame(picture):
    picture = picture.copy()
    picture[:5] = picture[-4:] = picture[:, :4] = 0.2
    return picture


def with_specks(picture):
    picture = picture.copy()
    for row, column in ((20, 30), (180, 150), (30, 170)):
        picture[row : row + 5, column : column + 5] *= 0.4
    return picture


Y, X = position()
SHEETS = {
    "half in shadow": lambda p: p * np.where(X + 0.4 * Y > 0.75, 0.6, 1),
    "soft shadow": lambda p: p * (1 - 0.5 / (1 + np.exp(-(X + 0.4 * Y - 0.75) / 0.06))),
    "vignette": lambda p: p * (1 - 0.9 * ((X - 0.5) ** 2 + (Y - 0.5) ** 2)),
    "dark corner": lambda p: np.where((X - 1) ** 2 + (Y - 1) ** 2 < 0.1, 0.25, p),
    "edge of a desk": lambda p: np.where(X < 0.08 + 0.05 * Y, 0.35, p),
    "turned, black corners": lambda p: np.where(np.abs(X + Y - 1) > 0.8, 0.0, p),
    "on a white canvas": on_white_canvas,
    "frame": with_frame,
    "specks": with_specks,
    "ruled": lambda p: p * lines(0.02),
    "grid": lambda p: p * lines(step=24) * lines(step=24).T,
    "noise": lambda p: p + np.random.default_rng(0).normal(0, 0.05, p.shape),
}


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", STROKES)
@pytest.mark.parametrize("kind", SHEETS)
def test_the_sheet_makes_no_difference(kind, name, negative):
    picture = np.clip(SHEETS[kind](written(name)), 0, 1)
    expected = to_mnist(written(name)).astype(int)
    found = to_mnist(1 - picture if negative else picture)
    # A center of mass between two pixels may be rounded to either.
    shifted = [np.roll(found, (down, across), (0, 1)) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    assert min(np.abs(picture - expected).mean() for picture in shifted) < 10


@pytest.mark.parametrize("kind", ["half in shadow", "edge of a desk", "ruled", "grid"])
def test_an_empty_sheet_is_blank(kind):
    with pytest.raises(DataError, match="blank"):
        to_mnist(SHEETS[kind](np.full((SIDE, SIDE), 0.8)))


def test_every_step_is_kept():
    large = np.repeat(np.repeat(written() * lines(), 2, 0), 2, 1)
    steps = []
    ink = paper.find_character(large, steps)
    assert [name for name, _ in steps] == ["light divided out", "lines taken away", paper.INK]
    flat, unruled, told = (image / 255 for _, image in steps)
    assert flat.shape == unruled.shape == told.shape == ink.shape == (200, 200)
    assert flat[lines() < 1].mean() > unruled[lines() < 1].mean() + 0.15
    np.testing.assert_allclose(told, ink, atol=0.5 / 255)
    assert ink.max() == 1
    np.testing.assert_array_equal(paper.find_character(large), ink)
