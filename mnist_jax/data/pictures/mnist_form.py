"""Characters brought to the form that MNIST's have (no JAX).

`to_mnist` does what the makers of MNIST did to NIST's forms (LeCun et al. 1998): the ink's bounding box is
scaled into 20x20 keeping its aspect, and placed so that its center of mass is at the center of 28x28.
"""

import numpy as np
from jaxtyping import Float, UInt8

from mnist_jax.data.pictures.fit import resize, to_uint8
from mnist_jax.data.pictures.steps import Step, note
from mnist_jax.errors import DataError

MNIST_SHAPE = (28, 28)
MNIST_BOX = 20

# A picture whose ink differs from its paper by less than 5 of 255 levels is blank.
_MIN_CONTRAST = 0.02

# In pixels of the result. Few strokes in MNIST are thinner than the first; the second is still slender there.
_THIN_STROKE = 1.2
_USUAL_STROKE = 2.0

# In pixels. A smaller picture has no room for a sheet around its character.
_SMALLEST_SHEET = 20


def to_mnist(
    gray: Float[np.ndarray, "height width"],
    image_shape: tuple[int, ...] = MNIST_SHAPE,
    box: int = MNIST_BOX,
    steps: list[Step] | None = None,
) -> UInt8[np.ndarray, "out_height out_width 1"]:
    """Brings a picture of one character to MNIST's form: light on black, in the box, centered by mass.

    Dark ink on light paper and light on dark are told apart; uneven light, edges, lines and dirt are taken
    away (`find_ink`); thin pen strokes are thickened to what is usual in MNIST. A picture that has MNIST's
    size and form already is returned as it is (or as its negative).

    Args:
        gray: Luminance in [0, 1], as `load_image` gives it.
        image_shape: Height and width of the result.
        box: Side of the box that the ink fills where the smaller side of the result is 28.
        steps: Where to add what each step made of it; nothing for a picture that is returned as it is.

    Returns:
        The character on black, ``[*image_shape, 1]``.

    Raises:
        DataError: When there is no ink to be seen.
        ValueError: When ``gray`` is not a two-dimensional array of finite numbers.

    Source:
        http://yann.lecun.com/exdb/mnist; LeCun et al., Gradient-based learning applied to document
        recognition, 1998.
    """
    gray = np.asarray(gray, np.float64)
    if gray.ndim != 2 or not gray.size or not np.isfinite(gray).all():
        raise ValueError(f"gray must be [height, width] of finite numbers, got shape {list(gray.shape)}")
    height, width = image_shape[:2]
    box_side = round(min(height, width) * box / MNIST_SHAPE[0])
    if gray.shape == (height, width):
        ink = _ink(gray)
        if _has_mnist_form(ink, box_side):
            return to_uint8(ink)[..., None]
    return place_ink(find_ink(gray, steps), image_shape, box, steps)


def place_ink(
    ink: Float[np.ndarray, "height width"],
    image_shape: tuple[int, ...] = MNIST_SHAPE,
    box: int = MNIST_BOX,
    steps: list[Step] | None = None,
) -> UInt8[np.ndarray, "out_height out_width 1"]:
    """Brings ink in [0, 1], 0 around one character, into the box, centered by mass; as `to_mnist`."""
    height, width = image_shape[:2]
    character = _fit_into_box(ink, round(min(height, width) * box / MNIST_SHAPE[0]), steps)
    return to_uint8(_place_by_mass(character, height, width))[..., None]


def find_ink(
    gray: Float[np.ndarray, "height width"], steps: list[Step] | None = None
) -> Float[np.ndarray, "out_height out_width"]:
    """Returns the ink of the one character in a picture, in [0, 1], at most 256 pixels a side.

    A character on an even sheet is taken as it is, but for specks and frames; elsewhere the sheet is taken
    away first (`paper.find_character`). What each step makes of it is added to ``steps``.

    Raises:
        DataError: When there is no ink to be seen.
    """
    from mnist_jax.data.pictures import paper

    gray = paper.reduce_to(gray)
    note(steps, "gray, at most 256 pixels", gray)
    try:
        ink = _ink(gray)
    except DataError:
        if min(gray.shape) < _SMALLEST_SHEET:
            raise
    else:
        if min(gray.shape) < _SMALLEST_SHEET:
            note(steps, paper.INK, ink)
            return ink
        if _lies_on_even_sheet(ink) or _is_one_piece(ink):
            note(steps, paper.INK, ink)
            return paper.select_character(ink, steps)
    return paper.find_character(gray, steps)


def _lies_on_even_sheet(ink: np.ndarray) -> bool:
    """Whether nothing reaches the border, as shadows and lines do, and no paper lies on other paper."""
    rim = np.concatenate([ink[:2].ravel(), ink[-2:].ravel(), ink[:, :2].ravel(), ink[:, -2:].ravel()])
    top, bottom, left, right = _bounds(ink, 0.06)
    is_block = (ink[top:bottom, left:right] > 0.06).mean() >= 0.65
    return bool((rim > 0.08).mean() < 0.01 and not is_block)


def _is_one_piece(ink: np.ndarray) -> bool:
    """Whether all ink hangs together and is of one tone, as in a thick or closely cropped character."""
    strokes = ink > 0.3
    rim = np.concatenate([strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1]])
    is_of_one_tone = ((ink > 0.15) & (ink < 0.7)).sum() <= 0.6 * (ink >= 0.7).sum()
    if rim.mean() > 0.3 or strokes.mean() > 0.55 or not is_of_one_tone:
        return False
    from scipy.ndimage import label, minimum_filter

    # Not a stroke but the sheet, in a frame or between shadows.
    if minimum_filter(strokes, max(2, round(0.25 * max(ink.shape))), mode="constant").any():
        return False
    labels, _ = label(strokes, np.ones((3, 3)))
    return bool(np.bincount(labels[strokes]).max() > 0.98 * strokes.sum())


def _ink(gray: np.ndarray) -> np.ndarray:
    """Ink in [0, 1], whatever the paper: 0 on the paper and its noise, about 1 in full strokes."""
    paper, noise = _paper(gray)
    difference = gray - paper
    # Ink lies far from the paper's tone and on one side, noise near and on both: the cube tells.
    if (difference * difference * difference).sum() < 0:
        # Dark ink swallows a share of the light that falls on it, so less where the paper is dim.
        lit = np.maximum(paper, 0.1)
        difference, noise = -difference / lit, noise / float(lit.mean())
    ink = np.maximum(difference - 3 * noise, 0)
    strokes = ink[ink > ink.max() / 2]
    peak = float(np.percentile(strokes, 95)) if strokes.size else 0.0
    if peak < max(_MIN_CONTRAST, 3 * noise):
        raise DataError("the picture is blank: nothing in it stands out from its background")
    return np.clip(ink / peak, 0, 1) if peak < 0.9 or noise else np.clip(ink, 0, 1)


def _paper(gray: np.ndarray) -> tuple[np.ndarray, float]:
    """The paper's luminance, a plane fitted to the border, and the noise (standard deviation) around it."""
    height, width = gray.shape
    rim = max(1, min(height, width) // 28)
    on_border = np.ones(gray.shape, bool)
    on_border[rim : height - rim, rim : width - rim] = False
    tones = gray[on_border]
    if (tones == tones[0]).all():
        return np.full(gray.shape, tones[0]), 0.0
    rows, columns = np.nonzero(on_border)
    plane = np.stack([np.ones(rows.size), rows / height - 0.5, columns / width - 0.5], axis=1)
    coefficients = np.array([np.median(tones), 0.0, 0.0])
    deviation = np.abs(tones - coefficients[0])
    # Strokes may cross the border: the plane is fitted to the 70% of it that lie nearest, again and again.
    for _ in range(5):
        kept = deviation <= np.quantile(deviation, 0.7)
        if not deviation[kept].any():
            break
        coefficients = np.linalg.lstsq(plane[kept], tones[kept], rcond=None)[0]
        deviation = np.abs(tones - plane @ coefficients)
    constant, down, across = coefficients
    paper = constant + down * (np.arange(height) / height - 0.5)[:, None]
    return paper + across * (np.arange(width) / width - 0.5), 1.4826 * float(np.median(deviation))


def _bounds(ink: np.ndarray, faintest: float = 0.3) -> tuple[int, int, int, int]:
    """Top, bottom, left, right (ends exclusive) of the strokes, leaving out specks of dirt at either end."""
    strokes = np.where(ink > faintest, ink, 0)
    return (*_ends(strokes.sum(axis=1)), *_ends(strokes.sum(axis=0)))


def _ends(profile: np.ndarray) -> tuple[int, int]:
    share = np.cumsum(profile) / profile.sum()
    return int(np.argmax(share > 0.0005)), int(np.argmax(share >= 0.9995)) + 1


def _center_of_mass(ink: np.ndarray) -> tuple[float, float]:
    rows, columns = ink.sum(axis=1), ink.sum(axis=0)
    return float(rows @ np.arange(rows.size) / rows.sum()), float(
        columns @ np.arange(columns.size) / columns.sum()
    )


def _has_mnist_form(ink: np.ndarray, box_side: int) -> bool:
    # MNIST's box holds faint pixels too; noise must not be taken for them.
    largest_side = []
    for faintest in (0.1, 0.3):
        top, bottom, left, right = _bounds(ink, faintest)
        largest_side.append(max(bottom - top, right - left))
    offsets = np.abs(np.subtract(_center_of_mass(ink), np.array(ink.shape) // 2))
    return bool(
        largest_side[0] >= 0.85 * box_side and largest_side[1] <= 1.1 * box_side and offsets.max() <= 1
    )


def _fit_into_box(ink: np.ndarray, box_side: int, steps: list[Step] | None) -> np.ndarray:
    """Crops to the strokes and scales the larger side to ``box_side``, with antialiasing."""
    top, bottom, left, right = _bounds(ink)
    largest = max(bottom - top, right - left)
    stroke_width = _stroke_width(ink)
    if stroke_width * box_side / largest < _THIN_STROKE:
        from scipy.ndimage import maximum_filter

        growth = round(_USUAL_STROKE * largest / box_side - stroke_width)
        # To the right and down; where the character lies is settled later.
        ink = maximum_filter(np.pad(ink, growth), growth + 1, mode="constant", origin=growth // 2)
        note(steps, "thin strokes thickened", ink)
        top, bottom, left, right = _bounds(ink)
        largest = max(bottom - top, right - left)
    scale = box_side / largest
    height, width = (max(1, round(side * scale)) for side in (bottom - top, right - left))
    # The source box is as large as the result asks, so that both axes have one scale; it may pass the border.
    margin_y, margin_x = (height / scale - (bottom - top)) / 2, (width / scale - (right - left)) / 2
    pad = int(np.ceil(max(margin_y, margin_x, 0))) + 1
    box = (left - margin_x + pad, top - margin_y + pad, right + margin_x + pad, bottom + margin_y + pad)
    character = resize(np.pad(ink, pad), (height, width), box)
    note(steps, "scaled into the box", character)
    return character


def _stroke_width(ink: np.ndarray) -> float:
    """Mean width of the strokes in pixels: twice their area over the length of their outline."""
    strokes = np.pad(ink > 0.5, 1)
    steps = np.count_nonzero(np.diff(strokes, axis=0)) + np.count_nonzero(np.diff(strokes, axis=1))
    # Steps along rows and columns overrate an outline of random direction by 4/pi.
    return 2 * np.count_nonzero(strokes) / (steps * np.pi / 4)


def _place_by_mass(character: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pastes with a whole-pixel shift that brings the center of mass nearest to the center."""
    center_row, center_column = _center_of_mass(character)
    top = int(np.floor(height // 2 - center_row + 0.5))
    left = int(np.floor(width // 2 - center_column + 0.5))
    top = min(max(top, 0), height - character.shape[0])
    left = min(max(left, 0), width - character.shape[1])
    placed = np.zeros((height, width))
    placed[top : top + character.shape[0], left : left + character.shape[1]] = character
    return placed
