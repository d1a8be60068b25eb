"""Boxes on a page put in reading order, line by line (no JAX)."""

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

# How far lines may lean, as height over width, and how many slopes are tried.
_STEEPEST = 0.12
_SLOPES = 49

# Boxes are in one line where they share this much of the lower one's height.
_SHARED = 0.5


def into_lines(boxes: Float[np.ndarray, "boxes 4"]) -> list[list[int]]:
    """Returns the numbers of the boxes line by line from the top, each from left to right.

    Lines may lean by up to 7 degrees, all alike.

    Args:
        boxes: top, left, bottom, right.
    """
    if not len(boxes):
        return []
    across = (boxes[:, 1] + boxes[:, 3]) / 2
    slope = find_slope(boxes)
    top, bottom = boxes[:, 0] - slope * across, boxes[:, 2] - slope * across
    height = bottom - top
    shared = np.minimum.outer(bottom, bottom) - np.maximum.outer(top, top)
    is_linked = shared >= _SHARED * np.minimum.outer(height, height)
    _, line = connected_components(csr_matrix(is_linked), directed=False)
    lines = [np.flatnonzero(line == number) for number in range(line.max() + 1)]
    lines.sort(key=lambda members: float(np.mean((top + bottom)[members])))
    return [[int(i) for i in members[np.argsort(across[members])]] for members in lines]


def find_slope(boxes: Float[np.ndarray, "boxes 4"]) -> float:
    """Returns the slope at which the boxes lie closest to common lines."""
    down, across = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    reach = 0.25 * float(np.median(boxes[:, 2] - boxes[:, 0]))

    def closeness(slope: float) -> float:
        level = down - slope * across
        apart = np.subtract.outer(level, level) / max(reach, 1e-6)
        return float(np.exp(-(apart**2)).sum()) - 0.5 * abs(slope) * len(boxes)

    return float(max(np.linspace(-_STEEPEST, _STEEPEST, _SLOPES), key=closeness))
