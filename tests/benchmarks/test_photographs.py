"""Made-up photographs of digits: what they are, and how answers about them are counted."""

import io

import numpy as np
import pytest

from benchmarks import photographs
from mnist_jax.data.pictures.decode import load_image
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.errors import DataError


@pytest.fixture(scope="module")
def made():
    digits = np.zeros((3, 28, 28), np.uint8)
    digits[:, 4:24, 12:15] = 255
    return photographs.make_photographs(digits, np.array([1, 1, 1]), 2, seed=5)


def test_every_kind_is_made_and_the_seed_decides(made):
    assert [photograph.kind for photograph in made] == [kind for kind in photographs.KINDS for _ in range(2)]
    shapes = {load_image(io.BytesIO(photograph.source.getvalue())).shape for photograph in made}
    assert shapes == {(400, 340), (630, 570)}
    digits = np.full((3, 28, 28), 255, np.uint8)
    others = [photographs.make_photographs(digits, np.arange(3), 1, seed)[0] for seed in (5, 5, 6)]
    contents = [photograph.source.getvalue() for photograph in others]
    assert contents[0] == contents[1] != contents[2]


def test_an_upright_stroke_is_found_on_every_sheet(made):
    images, is_read = photographs.prepare(made, Preparation("mnist", (28, 28, 1)))
    assert is_read.all()
    columns = (images[..., 0] > 128).any(axis=1).sum(axis=1)
    rows = (images[..., 0] > 128).any(axis=2).sum(axis=1)
    # Not the sheet, a frame or a line beside it.
    assert (columns <= 6).all() and (rows >= 18).all()


def test_right_and_sure_answers_are_counted_by_kind():
    made = [
        photographs.Photograph("", label, kind) for label, kind in ((0, "a"), (1, "a"), (1, "b"), (1, "b"))
    ]
    probabilities = np.array([[0.9, 0.1], [0.85, 0.15], [0.3, 0.7], [0.3, 0.7]])
    counts = photographs.count(made, probabilities, np.array([True, True, True, False]))
    assert counts == {
        "a": {"pictures": 2, "right": 1, "wrong_and_sure": 1},
        "b": {"pictures": 2, "right": 1, "wrong_and_sure": 0},
    }
    assert photographs.table(counts).splitlines()[-1] == "| all | 4 | 2 | 1 |"


def test_a_folder_needs_labels(tmp_path):
    (tmp_path / "labels.csv").write_text("file,label,kind\nx/7.png,7,photo\n")
    assert photographs.labeled_folder(tmp_path) == [
        photographs.Photograph(str(tmp_path / "x/7.png"), 7, "photo")
    ]
    (tmp_path / "labels.csv").write_text("file,label\nx/7.png,7\n")
    with pytest.raises(DataError, match="expected columns file, label and kind"):
        photographs.labeled_folder(tmp_path)
