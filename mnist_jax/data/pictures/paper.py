"""One character on a photographed or scanned sheet: its ink, without the sheet around it (no JAX).

Shadows, desk edges, turned corners, frames, ruled and grid lines and dirt are taken away one by one. Each
step takes and returns plain arrays; `find_character` calls them in turn.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from mnist_jax.data.pictures.slope import best_slope, shear, shift_by
from mnist_jax.data.pictures.steps import Step, note
from mnist_jax.errors import DataError

# Larger pictures are reduced before ink is looked for: their grain averages out, and it is quick.
LONGEST_SIDE = 256

# What a structuring element of this share of the shorter side does not fit into is a stroke, not a shadow.
_WIDEST_STROKE = 0.28
_STROKE_SHARES = (0.05, 0.08, 0.12, 0.17)

# How far ruled lines may lean, as height over width, and how many slopes are tried.
_STEEPEST = 0.06
_SLOPES = 13
_LOOKED_AT = 64  # columns

# A line's share of the light that it takes; fainter ones are lost in the noise.
_FAINTEST_LINE = 0.03

# A line is at least so dark at both ends, as a share of what it is all along.
_FAINTEST_END = 0.4

# The same of strokes, beside edges and shadows that were divided out.
_FAINTEST_INK = 0.08

_BLANK = "the picture is blank: nothing in it stands out from its background"

# The step that tells ink from paper.
INK = "ink told from paper"

_EIGHT = np.ones((3, 3), bool)


def reduce_to(gray: Float[np.ndarray, "height width"], longest: int = LONGEST_SIDE) -> np.ndarray:
    """Returns a picture of at most ``longest`` pixels a side, each the mean of a square of the given one."""
    factor = -(-max(gray.shape) // longest)
    if factor == 1:
        return gray
    height, width = (max(1, side // factor) for side in gray.shape)
    if min(gray.shape) < factor:
        return gray
    # Along whole rows first, which NumPy adds faster than blocks.
    rows = gray[: height * factor].reshape(height, factor, -1).sum(axis=1)
    return sum(rows[:, start : width * factor : factor] for start in range(factor)) / factor**2


def has_dark_ink(
    gray: Float[np.ndarray, "height width"],
    stroke_shares: Sequence[float] = _STROKE_SHARES,
    longest: int = LONGEST_SIDE // 2,
) -> bool:
    """Whether strokes are darker than what they are drawn on, whatever the tones of larger areas are.

    Args:
        gray: luminance in [0, 1].
        stroke_shares: widths, as shares of the shorter side, up to which something is a stroke; each votes.
        longest: the longer side, in pixels, of the picture that is looked at.
    """
    smooth = reduce_to(ndimage.gaussian_filter(gray, 1.0), longest)
    votes = 0.0
    for share in stroke_shares:
        side = _element_side(smooth.shape, share)
        dark = float(((_close(smooth, side) - smooth) ** 2).sum())
        light = float(((_close(-smooth, side) + smooth) ** 2).sum())
        votes += np.log(max(dark, 1e-9) / max(light, 1e-9))
    return bool(votes >= 0)


def divide_light_out(
    gray: Float[np.ndarray, "height width"], widest_stroke: float = _WIDEST_STROKE
) -> Float[np.ndarray, "height width"]:
    """Returns the share of light that dark strokes take, 0 on the sheet, in shadows and on what lies around.

    The light on the sheet is a morphological closing: areas that a square of a quarter of the picture fits
    into keep their tone, edges and all, and so does what lies along the border. Strokes do not.

    Args:
        gray: luminance in [0, 1], strokes darker than the sheet.
        widest_stroke: the side of that square, as a share of the shorter side.

    Returns:
        About 0 with the sheet's noise around it, up to 1 in black strokes.
    """
    light = _close(ndimage.gaussian_filter(gray, 1.0), _element_side(gray.shape, widest_stroke))
    # Smoothing lets light spill over edges; without this their dark sides would look like strokes.
    light = ndimage.minimum_filter(light, 5)
    dimmest = max(0.3 * float(np.quantile(light, 0.9)), 0.05)
    share = gray / np.maximum(light, dimmest) + np.maximum(dimmest - light, 0) / dimmest
    # Of a picture that is black but for a few strokes the median is 0.
    return 1 - share / max(float(np.median(share)), 0.05)


def remove_lines(
    flat: Float[np.ndarray, "height width"],
) -> tuple[Float[np.ndarray, "height width"], bool]:
    """Takes away lines that run across the sheet from side to side, such as those of ruled and grid paper.

    A stroke that crosses a line stays: there a line only takes its share of the light, as it does elsewhere.

    Args:
        flat: as `divide_light_out` returns it.

    Returns:
        The same without lines, and whether there were any.
    """
    without, has_rows = _remove_rows(flat)
    turned, has_columns = _remove_rows(without.T)
    return turned.T, has_rows or has_columns


def select_character(
    ink: Float[np.ndarray, "height width"], steps: list[Step] | None = None
) -> Float[np.ndarray, "height width"]:
    """Returns the ink without specks, frames, and what lies along the border, where there is something else.

    Args:
        ink: in [0, 1], 0 on the sheet.
        steps: where to add the result, if anything is taken away.
    """
    # Strokes of a thin pen have gaps.
    labels, count = ndimage.label(_widen(ink > 0.2), _EIGHT)
    if count < 2:
        return ink
    keep = _is_character(ink, labels, count)
    if keep.all():
        return ink
    number = np.arange(1, count + 1)
    good = np.isin(labels, number[keep])
    bad = _widen(_widen(np.isin(labels, number[~keep])))
    near = _widen(_widen(good))
    selected = np.where((bad & ~good) | ~near, 0, ink)
    note(steps, "specks, frames, borders gone", selected)
    return selected


def find_character(
    gray: Float[np.ndarray, "height width"], steps: list[Step] | None = None
) -> Float[np.ndarray, "out_height out_width"]:
    """Finds the ink of one character in a picture of a sheet, whatever else there is.

    Args:
        gray: luminance in [0, 1].
        steps: where to add what each step made of it.

    Returns:
        The ink in [0, 1], 0 around the character, at most 256 pixels a side.

    Raises:
        DataError: when there is no ink to be seen.
    """
    reduced = reduce_to(gray)
    flat = divide_light_out(reduced if has_dark_ink(reduced) else 1 - reduced)
    note(steps, "light divided out", flat)
    unruled, has_lines = remove_lines(flat)
    if has_lines:
        note(steps, "lines taken away", unruled)
    ink = normalize(unruled)
    note(steps, INK, ink)
    character = select_character(ink, steps)
    if not _has_size(character):
        raise DataError(_BLANK)
    return character


def normalize(flat: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Returns ink in [0, 1]: 0 on the sheet and its noise, about 1 in full strokes.

    Raises:
        DataError: when nothing stands out from the noise.
    """
    noise = noise_of(flat)
    if noise > 0.03:
        flat = ndimage.gaussian_filter(flat, 0.8)
        noise = noise_of(flat)
    ink = np.maximum(flat - 3 * noise, 0)
    strokes = ink[ink > ink.max() / 2]
    peak = float(np.percentile(strokes, 95)) if strokes.size else 0.0
    if peak < max(_FAINTEST_INK, 3 * noise):
        raise DataError(_BLANK)
    return np.clip(ink / peak, 0, 1)


def noise_of(flat: np.ndarray) -> float:
    """Returns the standard deviation of what is symmetric about 0, strokes left out."""
    below = flat[flat <= 0]
    return 1.4826 * float(np.median(-below)) if below.size else 0.0


def _widen(mask: np.ndarray) -> np.ndarray:
    """Dilates by a pixel on all eight sides, for which SciPy takes longer."""
    tall = mask.copy()
    tall[1:] |= mask[:-1]
    tall[:-1] |= mask[1:]
    wide = tall.copy()
    wide[:, 1:] |= tall[:, :-1]
    wide[:, :-1] |= tall[:, 1:]
    return wide


def _has_size(ink: np.ndarray) -> bool:
    """Whether ink is more than a speck, and more than what lines and edges leave along the border."""
    rows, columns = np.nonzero(ink > 0.5)
    shorter = min(ink.shape)
    margin = round(0.08 * shorter)
    inner = ink[margin : ink.shape[0] - margin, margin : ink.shape[1] - margin]
    return max(np.ptp(rows), np.ptp(columns)) >= 0.04 * shorter and bool((inner > 0.5).any())


def _element_side(shape: tuple[int, ...], share: float) -> int:
    return max(3, round(share * min(shape)) | 1)


def _close(plane: np.ndarray, side: int) -> np.ndarray:
    """Closes with a square; what touches the border is taken to go on beyond it, however thin it is."""
    padded = np.pad(plane, side, mode="edge")
    closed = ndimage.minimum_filter(ndimage.maximum_filter(padded, side), side)
    return closed[side:-side, side:-side]


def _remove_rows(flat: np.ndarray) -> tuple[np.ndarray, bool]:
    height, width = flat.shape
    if min(height, width) < 40:
        return flat, False
    smooth = ndimage.gaussian_filter(flat, (0.0, 1.0))
    # Where one side is blank no row can be a line, whatever the slope.
    if min(end.max() for end in _row_ends(smooth)) <= _FAINTEST_END * _FAINTEST_LINE:
        return flat, False
    # A part of the columns is enough to tell how lines lean.
    columns = np.linspace(0, width - 1, min(width, _LOOKED_AT)).astype(int)
    thinned = smooth[:, columns]

    def strength(slope: float) -> float:
        return float((_row_levels(shear(thinned, shift_by(slope, width)[columns])) ** 2).sum())

    shift = shift_by(best_slope(strength, _STEEPEST, _SLOPES), width)
    level = _row_levels(shear(smooth, shift))
    if not level.any():
        return flat, False
    rows = np.clip(np.arange(height)[:, None] - shift, 0, height - 1)
    # A thin line that leans is in two rows by turns: in each, this is nearer to its full tone than the level.
    tone = np.quantile(shear(flat, shift), 0.65, axis=1)
    along, darkest = level[rows], ndimage.maximum_filter(np.maximum(level, tone), 5)[rows]
    is_line_alone = (along > 0) & (flat < 1.5 * darkest)
    return np.where(is_line_alone, 0, 1 - (1 - flat) / (1 - np.minimum(along, 0.95))), True


def _row_levels(plane: np.ndarray) -> np.ndarray:
    """The share of light that each row takes all along, 0 where it is no line."""
    level = np.quantile(plane, 0.35, axis=1)
    level -= np.median(level)
    ends = np.minimum(*(np.median(end, axis=1) for end in _row_ends(plane)))
    spread = 1.4826 * float(np.median(np.abs(level)))
    is_line = (level > max(_FAINTEST_LINE, 5 * spread)) & (ends > _FAINTEST_END * level)
    if is_line.mean() > 0.5:
        return np.zeros_like(level)
    shoulders = ndimage.binary_dilation(is_line, iterations=2)
    return np.where(shoulders, np.maximum(level, 1e-3), 0)


def _row_ends(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    end = max(3, plane.shape[1] // 12)
    return plane[:, :end], plane[:, -end:]


def _is_character(ink: np.ndarray, labels: np.ndarray, count: int) -> Bool[np.ndarray, "count"]:
    """Which of the pieces of ink belong to the character."""
    height, width = ink.shape
    mass = ndimage.sum_labels(ink, labels, np.arange(1, count + 1))
    boxes = np.array([(r.start, r.stop, c.start, c.stop) for r, c in ndimage.find_objects(labels)], dtype=int)
    top, bottom, left, right = boxes.T
    size = np.maximum(bottom - top, right - left)
    touches = (top <= 1) | (left <= 1) | (bottom >= height - 1) | (right >= width - 1)
    keep = np.asarray(ndimage.maximum(ink, labels, np.arange(1, count + 1))) > 0.5
    inside = np.where(touches | ~keep, 0, mass)
    innermost = size[np.argmax(inside)] if inside.any() else 0
    if inside.max() > 0.2 * mass.max() or innermost > 0.25 * min(height, width):
        keep &= ~touches
    # A frame: thin, and around something else.
    for number in np.argsort(-size):
        around = keep & (top > top[number]) & (bottom < bottom[number])
        around &= (left > left[number]) & (right < right[number])
        area = (bottom[number] - top[number]) * (right[number] - left[number])
        is_thin = mass[number] < 0.25 * area
        if keep[number] and is_thin and size[around].max(initial=0) > 0.25 * size[number]:
            keep[number] = False
    main = int(np.argmax(np.where(keep, mass, 0)))
    away = np.maximum.reduce(
        [
            top - bottom[main],
            top[main] - bottom,
            left - right[main],
            left[main] - right,
        ]
    )
    keep &= (mass >= 0.04 * mass[main]) & ((away <= 0.3 * size[main]) | (mass >= 0.5 * mass[main]))
    return keep
