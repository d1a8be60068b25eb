"""Lines that lean: the slope at which they show best, and planes sheared by it (no JAX)."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int, Shaped


def best_slope(strength: Callable[[float], float], steepest: float, count: int) -> float:
    """Returns the strongest slope, as height over width, of ``count`` and then of the two halfway beside it.

    Args:
        strength: how well lines show at a slope.
        steepest: the slopes tried go from ``-steepest`` to this.
        count: how many are tried.
    """
    slopes = np.linspace(-steepest, steepest, count)
    coarse = max(slopes, key=strength)
    return float(max(coarse + np.linspace(-0.5, 0.5, 3) * (slopes[1] - slopes[0]), key=strength))


def shift_by(slope: float, width: int) -> Int[np.ndarray, " width"]:
    """Returns how far each column moves up, in pixels, for lines of this slope to lie along rows."""
    return np.rint(slope * (np.arange(width) - width / 2)).astype(int)


def shear(
    plane: Shaped[np.ndarray, "height width"], shift: Int[np.ndarray, " width"]
) -> Shaped[np.ndarray, "height width"]:
    """Moves every column up by its shift; pixels at the border are repeated."""
    rows = np.clip(np.arange(len(plane))[:, None] + shift, 0, len(plane) - 1)
    return plane[rows, np.arange(plane.shape[1])]
