"""Lines printed on a page, such as those of ruled paper, tables and forms: found and taken away (no JAX)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from mnist_jax.data.pictures.slope import best_slope, shear, shift_by

# How far lines may lean, as height over width, and how many slopes are tried.
_STEEPEST = 0.08
_SLOPES = 33

# In a picture of this many pixels a side the slope is looked for.
_COARSE_SIDE = 512

# A line's share of the light that it takes; fainter ones are lost in the noise.
_FAINTEST_LINE = 0.04

# The same of strokes.
_FAINTEST_INK = 0.08

# A line is seen in this share of its pixels, and is no thicker than this share of its length.
_SEEN = 0.9
_THICKEST = 1 / 25

# At least this share of a line is not crossed by strokes.
_UNCROSSED = 0.35

# Strokes cross lines that are, with their rims, less than so many pixels thick.
_GAP = 13

# Ink that is darker than a line by this factor is a stroke across it.
_DARKER = 1.5


class Ruling(NamedTuple):
    """What is left without the lines, and where they were."""

    flat: Float[np.ndarray, "height width"]
    is_line: Bool[np.ndarray, "height width"]


def remove_rules(flat: Float[np.ndarray, "height width"], length: float, noise: float) -> Ruling:
    """Takes away straight lines of at least this length along the rows and the columns, more or less.

    Strokes that cross a line stay: darker pixels on it do, and those between ink on both sides of it.

    Args:
        flat: the share of light that is missing, as `paper.divide_light_out` returns it.
        length: in pixels; strokes are shorter.
        noise: standard deviation of ``flat`` on the sheet.
    """
    # Both before either is taken away, which would leave the others in pieces.
    rows = _find_rows(flat, length, noise)
    columns = _find_rows(np.ascontiguousarray(flat.T), length, noise)
    is_line = np.zeros(flat.shape, bool)
    if rows is not None:
        flat, is_line = _without(flat, *rows)
    if columns is not None:
        turned, is_column = _without(np.ascontiguousarray(flat.T), *columns)
        flat, is_line = np.ascontiguousarray(turned.T), is_line | is_column.T
    return Ruling(flat, is_line)


def find_slope(flat: Float[np.ndarray, "height width"]) -> float:
    """Returns how far the thin lines along the rows lean, as height over width; downward is positive."""
    step = -(-max(flat.shape) // _COARSE_SIDE)
    height, width = (side // step * step for side in flat.shape)
    # The darkest of each square's rows: a thin line keeps its tone.
    small = flat[:height, :width].reshape(height // step, step, width // step, step).mean(axis=3).max(axis=1)
    thin = small - ndimage.maximum_filter1d(ndimage.minimum_filter1d(small, 4, axis=0), 4, axis=0, origin=-1)
    thin = np.clip(thin, 0, 4 * float(thin.mean()))
    num_parts = 3
    width = thin.shape[1] // num_parts * num_parts
    if min(thin.shape) < 2 * num_parts:
        return 0.0

    def strength(slope: float) -> float:
        level = shear(thin, shift_by(slope, thin.shape[1]))[:, :width]
        return float((level.reshape(len(thin), num_parts, -1).mean(axis=2) ** 2).sum())

    slope = best_slope(strength, _STEEPEST, _SLOPES)
    return slope if strength(slope) > 1.02 * strength(0.0) else 0.0


class _Rows(NamedTuple):
    """Lines along the rows of a picture that was sheared by their slope."""

    shift: np.ndarray  # of each column
    band: np.ndarray  # where they are, and two rows above and below
    is_dark: np.ndarray


def _find_rows(flat: np.ndarray, length: float, noise: float) -> _Rows | None:
    size = max(8, round(length))
    if size > flat.shape[1]:
        return None
    shift = shift_by(find_slope(flat), flat.shape[1])
    level = shear(flat, shift)
    smooth = ndimage.uniform_filter1d(level, 5, axis=1)
    is_dark = smooth > max(_FAINTEST_LINE, 2 * noise)
    # A thin line that leans is in two rows by turns.
    near = ndimage.maximum_filter1d(is_dark.astype(np.float32), 3, axis=0)
    seed = ndimage.uniform_filter1d(near, size, axis=1, mode="constant") >= _SEEN
    # Its ends may be a little higher or lower, where it leans otherwise than the slopes that were tried.
    near = ndimage.maximum_filter1d(ndimage.maximum_filter1d(seed, size, axis=1), 5, axis=0)
    band = _thin_only(near, is_dark, size)
    return _Rows(shift, band, is_dark) if band.any() else None


def _thin_only(near: np.ndarray, is_dark: np.ndarray, size: int) -> np.ndarray:
    """Of long narrow places those that little is dark in, not those of a thick stroke or an edge."""
    labels, count = ndimage.label(near, np.ones((3, 3)))
    if not count:
        return near
    area = np.bincount(labels[is_dark], minlength=count + 1)[1:]
    spans = np.array([columns.stop - columns.start for _, columns in ndimage.find_objects(labels)])
    is_line = area < _THICKEST * size * spans
    return np.concatenate([[False], is_line])[labels]


def _without(
    flat: np.ndarray, shift: np.ndarray, band: np.ndarray, is_dark: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    level = shear(flat, shift)
    darkest = ndimage.maximum_filter1d(level, 5, axis=0)
    tone = np.zeros((len(level), 1), np.float32)
    for row in np.flatnonzero(band.any(axis=1)):
        tone[row] = np.quantile(darkest[row, band[row]], _UNCROSSED)
    tone = ndimage.maximum_filter1d(tone, 2 * _GAP + 1, axis=0)
    zone = ndimage.maximum_filter1d(band & is_dark, 3, axis=0)
    is_rule = zone & (level < _DARKER * tone)
    ink = (level > np.maximum(0.5 * tone, _FAINTEST_INK)) & ~zone
    is_stroke = is_rule & _between(ink, _GAP)
    kept = np.where(is_rule & ~is_stroke, 0, level)
    return shear(kept, -shift), shear(zone, -shift)


def _between(ink: np.ndarray, reach: int) -> np.ndarray:
    """Where ink lies above and below, at most ``reach`` pixels apart, upright or leaning by 45 degrees."""
    found = np.zeros(ink.shape, bool)
    for lean in (-1, 0, 1):
        element = np.zeros((reach, reach), bool)
        steps = np.arange(reach)
        columns = np.clip(reach // 2 + lean * (steps - reach // 2), 0, reach - 1)
        element[steps, columns] = True
        found |= ndimage.binary_closing(ink, element)
    return found
