"""When not to answer: what is likely no single digit, and answers that a network is not sure of (no JAX).

An answer is refused for one of two reasons.

- ``unsure: 7 or 1?``: the likeliest class is less probable than a threshold, or the second is close to it.
- ``no single digit``, said of digits in MNIST's form alone. Either the ink is not of a digit's build
  (`has_build`): pieces side by side, far wider than tall, solid as a block, or crossed as often as a texture.
  Or its strokes run unlike those of all 500 digits embedded in the package that have the class of the answer
  (`distance_to_nearest`); a sure answer may lie farther from them than one that is not.

The constants were chosen on training digits of MNIST; docs/handwriting.md has what they reach.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from mnist_jax.data.pictures.mnist_form import MNIST_BOX, MNIST_SHAPE
from mnist_jax.data.pictures.preparation import Preparation

NO_DIGIT = "no single digit"

# Below this probability an answer is unsure, and where the second class comes as close as that.
DEFAULT_THRESHOLD = 0.4
_CLOSE = 0.05

# The farthest that digits lie from their like, and how much farther an answer may that is as sure as answers
# for digits are.
_FARTHEST = 0.107
_FARTHER_IF_SURE = 0.12
_SURE = 0.85

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

_NUM_DIRECTIONS = 8
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
        label = int(probabilities.argmax())
        if not has_build(image[..., 0]):
            return NO_DIGIT
        farthest = _FARTHEST + _FARTHER_IF_SURE * min(float(probabilities[label]), _SURE)
        if distance_to_nearest(image[..., 0], label) > farthest:
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


def distance_to_nearest(digit: UInt8[np.ndarray, "28 28"], label: int) -> float:
    """Returns how far the strokes' directions are from those of the embedded digit of a class next to it.

    Returns:
        0 for the same digit, 1 where nothing is alike.
    """
    return 1 - float((_embedded_directions(label) @ directions(digit[None])[0]).max())


def directions(digits: UInt8[np.ndarray, "digits 28 28"]) -> Float[np.ndarray, "digits features"]:
    """Returns how strong edges of each of eight directions are in each of 9x9 places, of length 1.

    Source:
        Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005; of the entries
        the roots, as Arandjelovic and Zisserman, CVPR 2012.
    """
    smooth = ndimage.gaussian_filter(digits.astype(np.float32) / 255, (0, 0.7, 0.7))
    down, across = np.gradient(smooth, axis=(1, 2))
    strength = np.hypot(down, across)
    turn = (np.arctan2(down, across) / np.pi % 1) * _NUM_DIRECTIONS
    pool = _pooling()
    planes = []
    for number in range(_NUM_DIRECTIONS):
        apart = np.abs(turn - number)
        share = np.maximum(1 - np.minimum(apart, _NUM_DIRECTIONS - apart), 0)
        planes.append(pool @ (strength * share) @ pool.T)
    features = np.stack(planes, axis=-1).reshape(len(digits), -1)
    return np.sqrt(features / np.maximum(features.sum(axis=1, keepdims=True), 1e-6))


def _pooling() -> np.ndarray:
    """Means weighted by a bell of 1.5 pixels around every third pixel, float32 ``[9, 28]``."""
    centers = np.arange(2, MNIST_SHAPE[0], 3)
    bell = np.exp(-0.5 * ((np.arange(MNIST_SHAPE[0]) - centers[:, None]) / 1.5) ** 2)
    return (bell / bell.sum(axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def _embedded_directions(label: int) -> np.ndarray:
    from mnist_jax.data.embedded import load_embedded

    splits = load_embedded()
    return np.concatenate(
        [directions(split.images[split.labels == label][..., 0]) for split in (splits.train, splits.test)]
    )
