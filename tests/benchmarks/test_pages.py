"""Made-up pages: what is on them, and how what is read there is counted."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.page_makers import SCANS, SHEETS, Digit, Page, make_pages, make_scan
from benchmarks.pages import Answer, count, match, table


@pytest.fixture(scope="module")
def digits():
    images = np.zeros((3, 28, 28), np.uint8)
    images[:, 4:24, 10:17] = 255
    return images, np.array([1, 1, 7])


@pytest.fixture(scope="module")
def made(digits):
    return make_pages(digits, 15, seed=3)


def test_every_kind_is_made_and_boxes_hold_the_ink(made):
    assert [page.kind for page in made["sheets"]] == list(SHEETS)
    assert [page.kind for page in made["scans"]][: len(SCANS)] == list(SCANS)
    assert len(made["touching"]) == 3
    page = made["sheets"][0]
    assert 5 <= sum(map(len, page.lines)) <= 40
    with Image.open(page.source) as picture:
        gray = np.asarray(picture) / 255
    ink = gray < np.median(gray) - 0.2
    inside = np.zeros(gray.shape, bool)
    for digit in (digit for line in page.lines for digit in line):
        top, left, bottom, right = map(int, digit.box)
        inside[top:bottom, left:right] = True
        assert ink[top:bottom, left:right].mean() > 0.7
    assert (ink & ~inside).sum() < 0.05 * ink.sum()


def test_digits_that_overlap_are_marked(made):
    digits = [digit for page in made["touching"] for line in page.lines for digit in line]
    assert any(digit.is_touched for digit in digits) and not all(digit.is_touched for digit in digits)
    assert not any(d.is_touched for page in made["scans"] for line in page.lines for d in line)


def test_the_seed_decides(digits):
    files = [make_scan(digits, np.random.default_rng(seed), "plain").source.getvalue() for seed in (1, 1, 2)]
    assert files[0] == files[1] != files[2]


def page(kind="a"):
    boxes = [[(0, 0, 10, 10), (0, 20, 10, 30)], [(30, 0, 40, 10)]]
    lines = [[Digit(number, box) for number, box in enumerate(line)] for line in boxes]
    return Page(None, kind, lines)


def test_found_right_and_in_order():
    right = [Answer((0, 0, 10, 10), 0, 0), Answer((0, 21, 10, 30), 1, 0), Answer((30, 0, 40, 10), 0, 1)]
    wrong = [right[0]._replace(label=5), *right[1:], Answer((60, 60, 70, 70), 1, 2)]
    swapped = [right[1], right[0], right[2]]
    one_line = [answer._replace(line=0) for answer in right]
    missing = [right[0], right[2]]
    rows = count([page(kind) for kind in "abcde"], [right, wrong, swapped, one_line, missing])
    assert [tuple(row.values()) for row in rows.values()] == [
        (1, 3, 3, 3, 0, 1),
        (1, 3, 3, 2, 1, 1),
        (1, 3, 3, 3, 0, 0),
        (1, 3, 3, 3, 0, 0),
        (1, 3, 2, 2, 0, 1),
    ]
    lines = table({"x": rows}).splitlines()
    assert len(lines) == 8 and lines[-1] == "| x | all | 5 | 15 | 14 | 13 (86.67%) | 1 | 3 |"


def test_a_box_is_of_the_digit_it_covers_best():
    truth = [(0, 0, 10, 10), (0, 8, 10, 18)]
    assert match(truth, [(0, 7, 10, 18), (0, 0, 10, 9)]) == {0: 1, 1: 0}
    assert match(truth, [(0, 0, 10, 40)]) == {} == match(truth, []) == match([], truth)
