"""When not to answer: what is likely no single digit, and answers that a network is not sure of (no JAX).

An answer is refused for one of two reasons.

- ``unsure: 7 or 1?``: the likeliest class is less probable than a threshold, or the second is close to it.
- ``no single digit``, said of digits in MNIST's form alone. Either the ink is not of a digit's build
  (`has_build`): pieces side by side, far wider than tall, solid as a block, or crossed as often as a texture.
  Or a small classifier takes it for something else (`rejector.non_digit_probability`).

The constants were chosen on training digits of MNIST; docs/handwriting.md has what they reach.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from mnist_jax.data.pictures.mnist_form import MNIST_BOX, MNIST_SHAPE
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.rejector import non_digit_probability

NO_DIGIT = "no single digit"

# Below this probability an answer is unsure, and where the second class comes as close as that.
DEFAULT_THRESHOLD = 0.4
_CLOSE = 0.05

# Of the last 10,000 training digits of MNIST, which it was not fitted to, 0.3% are more probably none.
_NONE = 0.8

# What is darker than this is a stroke.
_STROKE = 102

# In pixels of MNIST's form, whose box has 20; shares of the ink or of the height.
_THICKEST = 11
_MOST_CROSSINGS = 4
_MOST_HOLES = 3
_MOST_PIECES = 3
_WIDEST = 1.9
_PIECE = 0.08
_DIGIT_PIECE, _DIGIT_HEIGHT = 0.3, 0.6

_EIGHT = np.ones((3, 3), bool)


def find_doubt(
    image: UInt8[np.ndarray, "height width channels"],
    probabilities: Float[np.ndarray, " classes"],
    class_names: Sequence[str],
    preparation: Preparation,
    threshold: float = DEFAULT_THRESHOLD,
) -> str:
    """Returns why an answer is not to be trusted, or an empty string where it is.

    Args:
        image: what the network was given.
        probabilities: its answer.
        class_names: of each class.
        preparation: what was done to the picture; only digits in MNIST's form are looked at.
        threshold: the lowest probability of a sure answer; at 0 no probability is too low.
    """
    if is_of_digits(class_names, preparation):
        digit = image[..., 0]
        if not has_build(digit) or non_digit_probability(digit[None])[0] > _NONE:
            return NO_DIGIT
    return unsure_between(probabilities, class_names, threshold)


def is_of_digits(class_names: Sequence[str], preparation: Preparation) -> bool:
    """Whether a network reads the ten digits, in MNIST's form."""
    form = Preparation("mnist", (*MNIST_SHAPE, 1), MNIST_BOX)
    return list(class_names) == list("0123456789") and preparation == form


def unsure_between(
    probabilities: Float[np.ndarray, " classes"], class_names: Sequence[str], threshold: float
) -> str:
    """Returns ``unsure: A or B?`` where A is less likely than the threshold, or B about as likely as A."""
    first, *others = (int(i) for i in (-probabilities).argsort(kind="stable")[:2])
    closest = float(probabilities[others[0]]) if others else 0.0
    highest = float(probabilities[first])
    if threshold == 0 or (highest >= threshold and highest - closest >= _CLOSE):
        return ""
    return f"unsure: {' or '.join(class_names[i] for i in (first, *others))}?"


def has_build(digit: UInt8[np.ndarray, "28 28"]) -> bool:
    """Whether ink in MNIST's form may be one digit, by its pieces, aspect, thickness and holes."""
    strokes = np.pad(digit >= _STROKE, 1)
    if not strokes.any():
        return False
    rows, columns = np.flatnonzero(strokes.any(axis=1)), np.flatnonzero(strokes.any(axis=0))
    height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    is_solid = bool(ndimage.minimum_filter(strokes, _THICKEST).any())
    holes, _ = ndimage.label(~strokes)
    num_holes = int((np.bincount(holes[holes > 0])[1:] >= 3).sum()) - 1
    return not (
        is_solid
        or width > _WIDEST * height
        or max(_crossings(strokes), _crossings(strokes.T)) > _MOST_CROSSINGS
        or num_holes > _MOST_HOLES
        or _are_several(strokes, height)
    )


def _crossings(strokes: np.ndarray) -> int:
    """How many strokes three of the rows cross, or more."""
    starts = (strokes[:, 1:] & ~strokes[:, :-1]).sum(axis=1)
    return int(np.sort(starts)[-3])


def _are_several(strokes: np.ndarray, height: int) -> bool:
    labels, _ = ndimage.label(strokes, _EIGHT)
    share = np.bincount(labels.ravel())[1:] / strokes.sum()
    if (share >= _PIECE).sum() > _MOST_PIECES:
        return True
    large = [
        box
        for box, part in zip(ndimage.find_objects(labels), share, strict=True)
        if part >= _DIGIT_PIECE and box[0].stop - box[0].start >= _DIGIT_HEIGHT * height
    ]
    large.sort(key=lambda box: box[1].start)
    return any(left[1].stop <= right[1].start for left, right in zip(large, large[1:], strict=False))
