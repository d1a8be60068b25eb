"""What was read on pages, as plain values and lines of text (no JAX)."""

from collections.abc import Sequence
from typing import Any

from mnist_jax.data.pictures.answer import describe_answer
from mnist_jax.data.pictures.pages.answer import Digit, to_text
from mnist_jax.data.pictures.read import Picture


def describe(picture: Picture, digits: Sequence[Digit], top: int = 1) -> dict[str, Any]:
    """Puts the answers for one page into plain values.

    Args:
        picture: the page.
        digits: what was read there, in reading order.
        top: how many classes of each digit to list; 1 for the likeliest alone, without a list.

    Returns:
        ``{"file", "digits", "text"}`` or ``{"file", "error"}``; with ``index`` where the page was one of
        several in a file. ``text`` has a string for each line. Each digit has ``box`` (top, left, bottom,
        right in pixels of the picture, ends exclusive), ``line`` and ``place`` in it (from 0), ``label``,
        ``probability``, ``probabilities`` (by class), ``unsure`` and ``reason``.
    """
    row: dict[str, Any] = {"file": picture.file}
    if picture.index is not None:
        row["index"] = picture.index
    if picture.page is None:
        return {**row, "error": picture.error}
    return {**row, "digits": [describe_digit(digit, top) for digit in digits], "text": to_text(digits)}


def describe_digit(digit: Digit, top: int = 1) -> dict[str, Any]:
    """Puts one digit into plain values: what `describe_answer` returns, and where it is."""
    place = {"box": list(digit.box), "line": digit.line, "place": digit.place}
    return place | describe_answer(digit.probabilities, range(10), digit.doubt, top)


def as_lines(row: dict[str, Any]) -> list[str]:
    """Returns the lines of a page that `describe` described, each with what is doubted in it."""
    lines = []
    for number, text in enumerate(row["text"]):
        doubted = [
            f"{digit['place'] + 1}: {digit['reason']}"
            for digit in row["digits"]
            if digit["line"] == number and digit["unsure"]
        ]
        lines.append(f"{text}  ({'; '.join(doubted)})" if doubted else text)
    return lines or ["no digits"]
