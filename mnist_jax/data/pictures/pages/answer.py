"""A page's answers: which parts of its ink are digits, and which, in reading order (no JAX)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mnist_jax.data.pictures.doubt import DEFAULT_THRESHOLD, NO_DIGIT, find_doubt
from mnist_jax.data.pictures.mnist_form import MNIST_SHAPE
from mnist_jax.data.pictures.pages.find import Box, Group, Part
from mnist_jax.data.pictures.pages.order import into_lines
from mnist_jax.data.pictures.preparation import Preparation

TOUCHING = "digits that touch"

PredictFn = Callable[[UInt8[np.ndarray, "images 28 28 1"]], Float[np.ndarray, "images 10"]]

_CLASSES = tuple("0123456789")
_PREPARATION = Preparation("mnist", (*MNIST_SHAPE, 1))

# What is taken from the logarithm of a part's probability: where it is no digit, for each cut and the ink
# (in 32nds of a height) that it goes through, and where it is wider than tall, for each height.
_NO_DIGIT_COST = 3.0
_CUT_COST, _CUT_INK_COST = 0.15, 0.12
_WIDTH_COST = 4.0
_USUAL_WIDTH = 1.05

# Ink that is answered as one digit with this probability, and is not wide, is not asked for its parts.
_SURE = 0.9


class Digit(NamedTuple):
    """One digit on a page."""

    box: Box  # top, left, bottom, right (ends exclusive), in pixels of the picture
    line: int  # from 0 at the top
    place: int  # in its line, from 0 at the left
    image: UInt8[np.ndarray, "28 28 1"]  # what the network was given
    probabilities: Float[np.ndarray, " 10"]  # float32
    doubt: str  # why the answer is not to be trusted, or nothing

    @property
    def label(self) -> int:
        """The likeliest class."""
        return int(self.probabilities.argmax())

    @property
    def text(self) -> str:
        """The label, or ``?`` for what is no single digit."""
        return "?" if self.doubt in (NO_DIGIT, TOUCHING) else str(self.label)


def answer_pages(
    pages: Sequence[Sequence[Group]], predict: PredictFn, threshold: float = DEFAULT_THRESHOLD
) -> list[list[Digit]]:
    """Answers for several pages, with two calls of the network.

    Args:
        pages: for each what `find.find_groups` returned.
        predict: gives probabilities, float32 ``[N, 10]``, for images in MNIST's form, such as
            ``LoadedModel.predict``.
        threshold: an answer less probable than this is unsure.

    Returns:
        For each page its digits in reading order.
    """
    groups = [group for page in pages for group in page]
    wholes = _answer([group.parts[0] for group in groups], predict, threshold)
    # Most are sure to be one digit: only of the others the parts are asked.
    is_split = [_may_be_several(*whole) for whole in wholes]
    others = [
        part for group, split in zip(groups, is_split, strict=True) if split for part in group.parts[1:]
    ]
    answered = iter(_answer(others, predict, threshold))
    chosen = iter(
        _choose(group, [whole, *(next(answered) for _ in group.parts[1:])]) if split else [whole]
        for group, whole, split in zip(groups, wholes, is_split, strict=True)
    )
    return [_in_order([found for _ in page for found in next(chosen)]) for page in pages]


def to_text(digits: Sequence[Digit]) -> list[str]:
    """Returns the lines of a page, each digit as its `Digit.text`."""
    lines: list[list[str]] = [[] for _ in range(1 + max((digit.line for digit in digits), default=-1))]
    for digit in digits:
        lines[digit.line].append(digit.text)
    return ["".join(line) for line in lines]


_Found = tuple[Part, np.ndarray, str]


def _answer(parts: Sequence[Part], predict: PredictFn, threshold: float) -> list[_Found]:
    if not parts:
        return []
    answers = predict(np.stack([part.image for part in parts]))
    return [
        (part, answer, find_doubt(part.image, answer, _CLASSES, _PREPARATION, threshold))
        for part, answer in zip(parts, answers, strict=True)
    ]


def _may_be_several(part: Part, answer: np.ndarray, doubt: str) -> bool:
    return bool(doubt) or float(answer.max()) < _SURE or _aspect(part) > _USUAL_WIDTH


def _aspect(part: Part) -> float:
    top, left, bottom, right = part.box
    return (right - left) / max(bottom - top, 1)


def _choose(group: Group, found: Sequence[_Found]) -> list[_Found]:
    """The likeliest way to cut a group."""
    nothing: list[_Found] = []
    best = [(0.0, nothing)] + [(-np.inf, nothing)] * (len(group.cut_ink) - 1)
    for each in sorted(found, key=lambda each: each[0].end):
        before, cuts = best[each[0].start]
        score = before + _score(*each) - _CUT_COST - _CUT_INK_COST * group.cut_ink[each[0].end]
        if score > best[each[0].end][0]:
            best[each[0].end] = score, [*cuts, each]
    chosen = best[-1][1]
    part, answer, doubt = chosen[0]
    if len(chosen) == 1 and doubt == NO_DIGIT and _aspect(part) > _USUAL_WIDTH:
        return [(part, answer, TOUCHING)]
    return chosen


def _score(part: Part, answer: np.ndarray, doubt: str) -> float:
    score = float(np.log(max(answer.max(), 1e-6)))
    score -= _NO_DIGIT_COST * (doubt == NO_DIGIT)
    return score - _WIDTH_COST * max(_aspect(part) - _USUAL_WIDTH, 0)


def _in_order(chosen: Sequence[_Found]) -> list[Digit]:
    lines = into_lines(np.array([part.box for part, _, _ in chosen], np.float64).reshape(-1, 4))
    return [
        Digit(chosen[index][0].box, line, place, chosen[index][0].image, *chosen[index][1:])
        for line, members in enumerate(lines)
        for place, index in enumerate(members)
    ]
