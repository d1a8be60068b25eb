"""What each step made of a picture is kept where it is asked for, by the code that makes it."""

import io

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data.pictures import steps as steps_module
from mnist_jax.data.pictures.paper import INK
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.read import read_pictures
from mnist_jax.data.pictures.steps import AS_GIVEN, GIVEN, LONGEST_SIDE, Step, draw_steps, note
from mnist_jax.data.pictures.worker import PictureWorker
from mnist_jax.errors import DataError
from tests.data.pictures.conftest import STROKES, draw, saved

MNIST = Preparation.of_data_set("mnist", (28, 28, 1))
GRAY = "gray, at most 256 pixels"


def photograph(name="7", side=600, ruled=True):
    """A character on paper half in shadow, in color; uint8 [side, side, 3]."""
    sheet = 0.9 - 0.7 * np.asarray(draw(STROKES[name], side=side, pen=side // 14)) / 255
    rows, columns = np.mgrid[:side, :side]
    sheet = sheet * np.where(columns + 0.4 * rows > 0.75 * side, 0.6, 1)
    if ruled:
        sheet = np.where(rows % (side // 7) < side // 100, 0.75 * sheet, sheet)
    return np.rint(sheet[..., None] * [255, 250, 225]).astype(np.uint8)


def test_a_photograph_is_kept_from_the_file_to_what_the_network_is_given():
    kept = []
    prepared = MNIST.load(saved(Image.fromarray(photograph())), kept)
    assert [name for name, _ in kept] == [
        *(AS_GIVEN, GRAY, "light divided out", "lines taken away", INK),
        *("scaled into the box", GIVEN),
    ]
    np.testing.assert_array_equal(kept[-1].image, prepared[..., 0])
    np.testing.assert_array_equal(prepared, MNIST.load(saved(Image.fromarray(photograph()))))
    assert all(image.dtype == np.uint8 and max(image.shape) <= LONGEST_SIDE for _, image in kept)
    assert kept[0].image.shape == (150, 150, 3)
    assert abs(kept[0].image[5, 5].astype(int) - photograph()[20, 20]).max() < 3
    assert max(kept[-2].image.shape) == 20


@pytest.mark.parametrize(
    ("pixels", "names"),
    [
        (np.asarray(draw(STROKES["7"])), [AS_GIVEN, GRAY, INK, "scaled into the box", GIVEN]),
        (
            np.asarray(draw(STROKES["7"], pen=4)),
            [AS_GIVEN, GRAY, INK, "thin strokes thickened", "scaled into the box", GIVEN],
        ),
        (
            photograph(ruled=False),
            [AS_GIVEN, GRAY, "light divided out", INK, "scaled into the box", GIVEN],
        ),
    ],
    ids=["even sheet", "thin pen", "half in shadow"],
)
def test_only_what_was_done_is_kept(pixels, names):
    kept = []
    MNIST.load(saved(Image.fromarray(pixels)), kept)
    assert [name for name, _ in kept] == names


def test_a_digit_in_mnists_form_is_left_as_it_is(digit):
    kept = []
    MNIST.load(saved(Image.fromarray(digit)), kept)
    assert [name for name, _ in kept] == [AS_GIVEN, GIVEN]
    np.testing.assert_array_equal(kept[0].image, np.stack([digit] * 3, axis=-1))
    np.testing.assert_array_equal(kept[1].image, digit)


def test_specks_that_are_taken_away_are_a_step():
    sheet = np.asarray(draw(STROKES["9"])).copy()
    sheet[20:30, 20:30] = 255
    kept = []
    MNIST.load(saved(Image.fromarray(sheet)), kept)
    images = dict(kept)
    gone = images["specks, frames, borders gone"]
    assert images[INK][:20, :20].any() and not gone[:20, :20].any()
    np.testing.assert_array_equal(gone[30:], images[INK][30:])


def test_other_data_is_resized_in_one_step():
    kept = []
    prepared = Preparation("resized", (12, 14, 3)).load(saved(Image.fromarray(photograph())), kept)
    assert [name for name, _ in kept] == [AS_GIVEN, GIVEN]
    np.testing.assert_array_equal(kept[1].image, prepared)


@pytest.mark.parametrize("bits", [8, 16])
def test_gray_transparent_and_deep_pictures_are_shown(bits):
    if bits == 8:
        picture = Image.fromarray(photograph(ruled=False)).convert("RGBA")
        picture.paste((0, 0, 0, 0), (0, 0, 40, 40))
    else:
        picture = Image.fromarray(photograph(ruled=False)[..., 0].astype(np.uint16) * 257)
    kept = []
    MNIST.load(saved(picture), kept)
    shown = kept[0].image
    if bits == 8:
        assert (abs(shown[:5, :5].astype(int) - 128) <= 1).all()
    else:
        # From its darkest tone to its lightest.
        assert shown.shape == (150, 150) and shown[5, 5] == 255 and shown.min() < 5


def test_a_blank_picture_shows_how_far_it_came():
    blank = saved(Image.new("L", (100, 80), 200)).getvalue()
    for is_for_all in (False, True):
        with PictureWorker(is_for_all=is_for_all) as worker:
            kept = []
            with pytest.raises(DataError, match="blank"):
                worker.prepare(blank, MNIST, kept)
            assert [name for name, _ in kept] == [AS_GIVEN, GRAY, "light divided out"]


def test_the_process_that_decodes_keeps_the_same():
    content = saved(Image.fromarray(photograph())).getvalue()
    here, there = [], []
    expected = MNIST.load(io.BytesIO(content), here)
    with PictureWorker(is_for_all=True) as worker:
        np.testing.assert_array_equal(worker.prepare(content, MNIST, there), expected)
        np.testing.assert_array_equal(worker.prepare(content, MNIST), expected)
    assert [name for name, _ in there] == [name for name, _ in here]
    for ours, theirs in zip(here, there, strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)


def test_the_first_pictures_keep_their_steps(tmp_path, digit, monkeypatch):
    Image.fromarray(photograph()).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    np.save(tmp_path / "c.npy", np.stack([digit, 0 * digit, digit]))
    read = list(read_pictures([str(tmp_path)], MNIST, None, 4))
    assert [len(picture.steps) for picture in read] == [7, 0, 2, 1, 0]
    assert [picture.error[:15] for picture in read] == ["", "empty, or not a", "", "the picture is ", ""]
    # Nothing is made where nothing is asked for.
    monkeypatch.setattr(steps_module, "to_uint8", None)
    read = list(read_pictures([str(tmp_path)], MNIST, None))
    assert [len(picture.steps) for picture in read] == [0] * 5 and read[0].image is not None


def test_notes_are_clipped_and_reduced():
    kept = []
    note(kept, "wide", np.tile(np.linspace(-1, 2, 600), (2, 1)))
    assert kept[0].image.shape == (1, 200)
    assert kept[0].image.min() == 0 and kept[0].image.max() == 255
    note(None, "nowhere", np.zeros((2, 2)))


def test_the_sheet_has_the_steps_side_by_side():
    kept = [
        Step("color", np.full((100, 256, 3), (200, 30, 30), np.uint8)),
        Step("small", np.array([[0, 255], [255, 0]], np.uint8)),
    ]
    with Image.open(io.BytesIO(draw_steps(kept))) as sheet:
        assert sheet.format == "PNG" and sheet.mode == "RGB"
        pixels = np.asarray(sheet)
    (top, left), (bottom, right) = np.argwhere((pixels == (200, 30, 30)).all(axis=2))[[0, -1]]
    assert (bottom - top + 1, right - left + 1) == (100, 256)
    # Squares of the small one, to the right of it, at the same height.
    small = pixels[top : top + 256, right + 17 : right + 17 + 256]
    assert not small[:128, :128].any() and (small[:128, 128:] == 255).all() and not small[128:, 128:].any()
    # A name above each.
    names = pixels[: top - 1] < 128
    assert names[:, : right + 1].any() and names[:, right + 17 :].any()
