"""Answers for pages: the likeliest cut, in reading order, with doubts; as values, text and pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data.pictures.doubt import NO_DIGIT
from mnist_jax.data.pictures.pages import rows
from mnist_jax.data.pictures.pages.answer import TOUCHING, answer_pages, to_text
from mnist_jax.data.pictures.pages.draw import draw_boxes
from mnist_jax.data.pictures.pages.find import Group, Part, find_page
from mnist_jax.data.pictures.read import Picture
from tests.data.pictures.pages.conftest import on_paper, write


@pytest.fixture(scope="module")
def page():
    return find_page(on_paper(write(["2792", "97", "729"])[0]))


@pytest.fixture(scope="module")
def digits(page, predict):
    return answer_pages([page.groups], predict)[0]


def test_lines_are_read_in_order(digits):
    assert to_text(digits) == ["2792", "97", "729"]
    assert [(digit.line, digit.place) for digit in digits[:5]] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert not any(digit.doubt for digit in digits)


def test_several_pages_are_asked_for_at_once(page, predict):
    calls = []

    def counting(images):
        calls.append(len(images))
        return predict(images)

    answers = answer_pages([page.groups, [], page.groups], counting)
    assert [to_text(digits) for digits in answers] == [["2792", "97", "729"], [], ["2792", "97", "729"]]
    assert 1 <= len(calls) <= 2 and calls[0] == 18


def test_digits_that_touch_are_cut(predict):
    page = find_page(on_paper(write(["27", "972"], gap=-3)[0]))
    (digits,) = answer_pages([page.groups], predict)
    assert to_text(digits) == ["27", "972"]


def test_what_cannot_be_cut_is_said_to_touch():
    scrawl = np.zeros((28, 28, 1), np.uint8)
    scrawl[::3] = 255
    group = Group([0.0, 9.0, 0.0], [Part(0, 2, (0, 0, 30, 60), scrawl), Part(0, 1, (0, 0, 30, 20), scrawl)])
    ((digit,),) = answer_pages([[group]], lambda images: np.full((len(images), 10), 0.1, np.float32))
    assert digit.doubt == TOUCHING and to_text([digit]) == ["?"]
    narrow = Group([0.0, 0.0], [Part(0, 1, (0, 0, 30, 20), scrawl)])
    ((digit,),) = answer_pages([[narrow]], lambda images: np.full((len(images), 10), 0.1, np.float32))
    assert digit.doubt == NO_DIGIT


def test_values(page, digits):
    row = rows.describe(Picture("a.png", page=page), digits, top=2)
    assert (row["file"], row["text"]) == ("a.png", ["2792", "97", "729"])
    first = row["digits"][0]
    assert list(first) == [
        *("box", "line", "place", "label", "probability", "probabilities", "unsure", "reason", "top")
    ]
    assert first["box"] == list(digits[0].box) and first["label"] == 2 and first["unsure"] is False
    assert [guess["label"] for guess in first["top"]][0] == 2
    assert rows.as_lines(row) == ["2792", "97", "729"]
    doubted = [digits[0]._replace(doubt="unsure: 2 or 7?"), *digits[1:4]]
    assert rows.as_lines(rows.describe(Picture("a", page=page), doubted)) == ["2792  (1: unsure: 2 or 7?)"]
    assert rows.as_lines(rows.describe(Picture("a", page=page), [])) == ["no digits"]
    assert rows.describe(Picture("b.npy", 3, error="blank"), []) == {
        "file": "b.npy",
        "index": 3,
        "error": "blank",
    }


def test_boxes_are_drawn(page, digits):
    doubted = [digits[0]._replace(doubt=NO_DIGIT), *digits[1:]]
    with Image.open(io.BytesIO(draw_boxes(page, doubted))) as picture:
        assert picture.format == "PNG" and picture.size == (600, 500)
        pixels = np.asarray(picture).astype(int)
    is_colored = np.ptp(pixels, axis=2) > 60
    # Letters are smooth: their rims have little color.
    assert (pixels[~is_colored][:, 0] == page.gray[~is_colored]).mean() > 0.999
    for digit, warm in zip(doubted[:2], (True, False), strict=True):
        top, left, bottom, right = digit.box
        side = pixels[top + 5 : bottom - 5, left - 1]
        assert is_colored[top + 5 : bottom - 5, left - 1].all()
        assert (side[:, 0] > side[:, 2]).all() == warm
