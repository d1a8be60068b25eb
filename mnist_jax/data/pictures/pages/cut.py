"""Ink of digits that touch, cut where little of it is cut through (no JAX)."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from mnist_jax.data.pictures.fit import resize

# Cuts are looked for in ink of this height.
_HEIGHT = 32

# In heights of a digit: what is narrower is not cut; how far a cut may bend, how close two may be; the
# narrowest and the widest part.
_NARROWEST_CUT = 0.75
_BEND = 0.25
_APART = 0.14
_NARROWEST, _WIDEST = 0.1, 1.35

_MOST_CUTS = 12
_MOST_DIGITS = 40

# Pieces of less than this share of a part are its neighbor's.
_CRUMB = 0.1

_EIGHT = np.ones((3, 3), bool)

Parts = list[tuple[int, int, np.ndarray]]


def find_parts(ink: Float[np.ndarray, "height width"], digit_height: float) -> tuple[list[float], Parts]:
    """Returns the parts of connected ink that may be digits.

    Args:
        ink: in [0, 1], its box alone.
        digit_height: what is usual on the page, in pixels.

    Returns:
        The ink that each cut goes through, in 32nds of the height, 0 at both ends; and for each part the two
        cuts it lies between and the ink within, as large as all of it. The first part is all of it.
    """
    height, width = ink.shape
    is_pile = height > 1.6 * digit_height and width < 1.3 * digit_height
    upright = ink.T if is_pile else ink
    usual = digit_height if is_pile else float(np.clip(height, 0.8 * digit_height, 1.3 * digit_height))
    cut_ink, paths = _find_paths(upright, usual)
    parts = [(0, len(paths) + 1, ink)]
    for start, end, part in _between(upright, paths, usual):
        parts.append((start, end, part.T if is_pile else part))
    return [0.0, *cut_ink, 0.0], parts


def _find_paths(ink: np.ndarray, usual: float) -> tuple[list[float], list[np.ndarray]]:
    """The ink that each cut goes through, from left to right, and the columns where it crosses the rows."""
    height, width = ink.shape
    if width < _NARROWEST_CUT * usual or width > _MOST_DIGITS * usual:
        return [], []
    scale = _HEIGHT / height
    small = resize(ink, (_HEIGHT, max(4, round(width * scale))), (0.0, 0.0, float(width), float(height)))
    unit = usual * scale
    places = np.arange(round(0.12 * unit), small.shape[1] - round(0.12 * unit))
    if not len(places):
        return [], []
    cost, paths = _cheapest_paths(small, places, max(2, round(_BEND * unit)))
    chosen: list[int] = []
    num_cuts = min(_MOST_CUTS * max(1, round(width / usual / 2)), round(4 * width / usual))
    for index in np.argsort(cost):
        if len(chosen) == num_cuts:
            break
        if all(abs(places[index] - places[other]) >= _APART * unit for other in chosen):
            chosen.append(int(index))
    rows = np.clip(((np.arange(height) + 0.5) * scale).astype(int), 0, _HEIGHT - 1)
    chosen.sort()
    return [float(cost[i]) for i in chosen], [np.rint((paths[i][rows] + 0.5) / scale) for i in chosen]


def _cheapest_paths(ink: np.ndarray, places: np.ndarray, bend: int) -> tuple[np.ndarray, np.ndarray]:
    """For each column, the path from top to bottom near it that crosses the least ink.

    Returns:
        The costs ``[places]`` and the paths ``[places, rows]``.
    """
    offsets = np.arange(-bend, bend + 1)
    columns = places[:, None] + offsets
    outside = (columns < 0) | (columns >= ink.shape[1])
    columns = np.clip(columns, 0, ink.shape[1] - 1)
    total = np.zeros(columns.shape)
    steps = np.zeros((len(ink), *columns.shape), np.int8)
    for row, line in enumerate(ink):
        padded = np.pad(total, ((0, 0), (1, 1)), constant_values=np.inf)
        # Straight on costs nothing, aside a little.
        choices = np.stack([padded[:, :-2] + 0.04, padded[:, 1:-1], padded[:, 2:] + 0.04])
        steps[row] = choices.argmin(axis=0) - 1
        total = choices.min(axis=0) + line[columns] + 0.03 * np.abs(offsets) / bend
        total[outside] = np.inf
    at = total.argmin(axis=1)
    cost = total.min(axis=1)
    paths = np.empty((len(places), len(ink)))
    every = np.arange(len(places))
    for row in range(len(ink) - 1, -1, -1):
        paths[:, row] = places + offsets[at]
        at = np.clip(at + steps[row][every, at], 0, len(offsets) - 1)
    return cost, paths


def _between(ink: np.ndarray, paths: list[np.ndarray], usual: float) -> Iterator[tuple[int, int, np.ndarray]]:
    height, width = ink.shape
    ends = [np.zeros(height), *paths, np.full(height, width)]
    columns = np.arange(width)
    for start in range(len(ends) - 1):
        for end in range(start + 1, len(ends)):
            if (start, end) == (0, len(ends) - 1):
                continue
            if not _NARROWEST * usual <= float((ends[end] - ends[start]).mean()) <= _WIDEST * usual:
                continue
            inside = (columns >= ends[start][:, None]) & (columns < ends[end][:, None])
            part = _without_crumbs(np.where(inside, ink, 0))
            if (part > 0.5).sum() >= 6:
                yield start, end, part


def _without_crumbs(part: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(part > 0.2, _EIGHT)
    if count < 2:
        return part
    area = np.bincount(labels.ravel())
    area[0] = 0
    crumbs = area < _CRUMB * area.sum()
    crumbs[0] = False
    return np.where(crumbs[labels], 0, part)
