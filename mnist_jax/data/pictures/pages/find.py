"""The digits on a page: pieces of ink told from lines, frames and dirt, and put together (no JAX)."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from mnist_jax.data.pictures import paper
from mnist_jax.data.pictures.decode import load_image, read_facts
from mnist_jax.data.pictures.fit import luminance, to_uint8
from mnist_jax.data.pictures.mnist_form import place_ink
from mnist_jax.data.pictures.pages.cut import find_parts
from mnist_jax.data.pictures.pages.rules import remove_rules
from mnist_jax.data.pictures.steps import PAGE_SIDE, Step, note
from mnist_jax.errors import DataError

if TYPE_CHECKING:
    from mnist_jax.data.pictures.decode import Source

# Larger pages are reduced before digits are looked for.
LONGEST_SIDE = 2048

# In pixels of the reduced page.
_SMALLEST = 8

# Widths of strokes, as shares of the shorter side, by which dark ink is told from light.
_STROKE_SHARES = (0.012, 0.02, 0.04, 0.08)

# What is wider than this share of the longer side is no stroke.
_WIDEST_STROKE = 0.1

# Ink that takes a smaller share of the light is lost in the noise.
_FAINTEST_INK = 0.08

# Of the darkest of a piece: what is lighter is its blurred rim.
_RIM = 0.3

_MOST_PIECES = 1000
_EIGHT = np.ones((3, 3), bool)

Box = tuple[int, int, int, int]


class Part(NamedTuple):
    """A piece of connected ink, from one cut through it to another."""

    start: int  # 0 is where the ink begins
    end: int
    box: Box  # top, left, bottom, right (ends exclusive), in pixels of the page as it was given
    image: UInt8[np.ndarray, "28 28 1"]  # in MNIST's form


class Group(NamedTuple):
    """Connected ink: a digit, or several that touch, and every part of it that may be one."""

    cut_ink: list[float]  # at each cut, with both ends: the ink cut through, in 32nds of its height
    parts: list[Part]  # the first is all of it


class Page(NamedTuple):
    """A picture of a page, and the ink on it that may be digits."""

    groups: list[Group]
    gray: UInt8[np.ndarray, "height width"]  # luminance, at most `LONGEST_SIDE` pixels a side
    shape: tuple[int, int]  # height and width of the picture as it was given, in pixels


def load_page(source: "Source", steps: list[Step] | None = None) -> Page:
    """Reads a picture file, a path or a binary file, and finds the digits on it.

    What each step made of the page is added to ``steps``, also where it ends in an error.

    Raises:
        DataError: as `decode.load_image` and `find_groups`.
    """
    facts = read_facts(source)
    if hasattr(source, "seek"):
        source.seek(0)
    return find_page(load_image(source, stretch=True), (facts.height, facts.width), steps)


def find_page(
    pixels: Float[np.ndarray, "height width *channels"],
    shape: tuple[int, int] | None = None,
    steps: list[Step] | None = None,
) -> Page:
    """Finds the digits in a picture in [0, 1]; ``shape``, ``steps`` and errors as for `find_groups`."""
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else luminance(pixels)
    gray = paper.reduce_to(np.asarray(pixels, np.float32), LONGEST_SIDE)
    shape = shape or (pixels.shape[0], pixels.shape[1])
    return Page(find_groups(gray, shape, steps), to_uint8(gray), shape)


def find_groups(
    gray: Float[np.ndarray, "height width"],
    shape: tuple[int, int] | None = None,
    steps: list[Step] | None = None,
) -> list[Group]:
    """Finds the digits on a page.

    Args:
        gray: luminance in [0, 1]; dark ink on light paper and light on dark are told apart.
        shape: height and width of the page whose pixels the boxes count, where ``gray`` was reduced.
        steps: where to add what each step made of it, also where it ends in an error.

    Returns:
        Groups in no order; none where there is ink, but nothing that may be a digit.

    Raises:
        DataError: nothing stands out from the page.
    """
    height, width = shape or gray.shape
    gray = paper.reduce_to(np.asarray(gray, np.float32), LONGEST_SIDE)
    scale = height / gray.shape[0], width / gray.shape[1]
    note(steps, "gray", gray, PAGE_SIDE)
    flat, is_line, noise = _flatten(gray, steps)
    pieces = _find_pieces(flat, noise)
    if not len(pieces.boxes):
        raise DataError("the picture is blank: nothing in it stands out from its background")
    digit_height = _digit_height(pieces)
    if (_holders(pieces) | _sticks(pieces, digit_height)).any():
        ruled = remove_rules(flat, 1.4 * digit_height, noise)
        flat, is_line = ruled.flat, is_line | ruled.is_line
        if ruled.is_line.any():
            note(steps, "shorter lines taken away", flat, PAGE_SIDE)
        pieces = _find_pieces(flat, noise)
        digit_height = _digit_height(pieces)
    pieces = _select(pieces, is_line, digit_height)
    note(steps, "ink that may be digits", np.where(pieces.labels > 0, flat, 0), PAGE_SIDE)
    return [
        _make_group(flat, pieces, members, digit_height, scale)
        for members in _put_together(pieces.boxes, digit_height)
        if _has_size(pieces, members, digit_height, flat.shape)
    ]


class _Pieces(NamedTuple):
    """Connected pieces of ink, numbered from 0; in ``labels`` from 1."""

    labels: Int[np.ndarray, "height width"]
    boxes: Int[np.ndarray, "pieces 4"]
    area: Int[np.ndarray, " pieces"]
    peak: Float[np.ndarray, " pieces"]

    def only(self, keep: Bool[np.ndarray, " pieces"]) -> "_Pieces":
        number = np.concatenate([[0], np.where(keep, np.cumsum(keep), 0)]).astype(np.int32)
        return _Pieces(number[self.labels], self.boxes[keep], self.area[keep], self.peak[keep])


def _flatten(gray: np.ndarray, steps: list[Step] | None) -> tuple[np.ndarray, np.ndarray, float]:
    """The light that ink takes, without lines that run far; where those were; and the noise."""
    if not paper.has_dark_ink(paper.reduce_to(gray, 512), _STROKE_SHARES, 512):
        gray = 1 - gray
    longest = max(gray.shape)
    flat = paper.divide_light_out(gray, min(0.28, _WIDEST_STROKE * longest / min(gray.shape)))
    note(steps, "light divided out", flat, PAGE_SIDE)
    noise = paper.noise_of(flat[::2, ::2])
    if noise > 0.02:
        flat = ndimage.gaussian_filter(flat, 1.0)
        noise = paper.noise_of(flat[::2, ::2])
    ruled = remove_rules(flat, 0.25 * longest, noise)
    if ruled.is_line.any():
        note(steps, "lines taken away", ruled.flat, PAGE_SIDE)
    return ruled.flat, ruled.is_line, noise


def _find_pieces(flat: np.ndarray, noise: float) -> _Pieces:
    faintest = max(_FAINTEST_INK, 4 * noise)
    rough = _label(flat, flat > faintest)
    # Blurred neighbors hang together by their rims only.
    rim = np.concatenate([[np.inf], _RIM * rough.peak])[rough.labels]
    return _label(flat, (rough.labels > 0) & (flat > rim))


def _label(flat: np.ndarray, is_ink: np.ndarray) -> _Pieces:
    labels, _ = ndimage.label(is_ink, _EIGHT)
    area = np.bincount(labels.ravel())
    area[0] = 0
    at_least = max(_SMALLEST, np.sort(area)[-_MOST_PIECES:][0])
    keep = area >= at_least
    labels = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
    places = np.flatnonzero(labels)
    peak = np.zeros(int(keep.sum()) + 1, np.float32)
    np.maximum.at(peak, labels.ravel()[places], flat.ravel()[places])
    boxes = [(r.start, c.start, r.stop, c.stop) for r, c in ndimage.find_objects(labels)]
    return _Pieces(labels, np.array(boxes, int).reshape(-1, 4), area[keep], peak[1:])


def _holders(pieces: _Pieces) -> Bool[np.ndarray, " pieces"]:
    """Which pieces lie around others of some size, as frames do."""
    top, left, bottom, right = pieces.boxes.T
    size = np.maximum(bottom - top, right - left)
    inside = (
        (top[None] > top[:, None])
        & (left[None] > left[:, None])
        & (bottom[None] < bottom[:, None])
        & (right[None] < right[:, None])
        & (size[None] > 0.25 * np.minimum(bottom - top, right - left)[:, None])
    )
    return np.asarray(inside.any(axis=1)) | (size > 4 * _digit_height(pieces, np.ones(len(size), bool)))


def _sticks(pieces: _Pieces, longer_than: float = 0.0) -> Bool[np.ndarray, " pieces"]:
    """Which pieces are long and thin, as lines are."""
    height, width = (pieces.boxes[:, 2:] - pieces.boxes[:, :2]).T
    size, side = np.maximum(height, width), np.minimum(height, width)
    return (side < 0.1 * size) & (size > 1.2 * longer_than)


def _digit_height(pieces: _Pieces, keep: np.ndarray | None = None) -> float:
    """The usual height: the median of the pieces that hold no others, weighed by their ink."""
    keep = ~_holders(pieces) & ~_sticks(pieces) if keep is None else keep
    if not keep.any():
        keep = np.ones(len(keep), bool)
    height = (pieces.boxes[:, 2] - pieces.boxes[:, 0])[keep]
    order = np.argsort(height)
    share = np.cumsum(pieces.area[keep][order])
    return float(height[order][np.searchsorted(share, share[-1] / 2)])


def _select(pieces: _Pieces, is_line: np.ndarray, digit_height: float) -> _Pieces:
    """The pieces that may be of digits: no specks, frames, remains of lines, nor what lies at the border."""
    top, left, bottom, right = pieces.boxes.T
    height, width = bottom - top, right - left
    size = np.maximum(height, width)
    on_line = np.bincount(pieces.labels[is_line], minlength=len(size) + 1)[1:] / pieces.area
    page_height, page_width = pieces.labels.shape
    touches = (top <= 1) | (left <= 1) | (bottom >= page_height - 1) | (right >= page_width - 1)
    keep = (size >= 0.1 * digit_height) & (on_line < 0.85)
    keep &= ~(touches & ((size > 1.8 * digit_height) | (size < 0.5 * digit_height)))
    keep &= ~(_sticks(pieces, digit_height) & (pieces.area < size * size / 20))
    keep &= ~((height > 4 * digit_height) & (width > 4 * digit_height))
    for number in np.flatnonzero(keep & (np.minimum(height, width) > 0.5 * digit_height)):
        place = pieces.labels[top[number] : bottom[number], left[number] : right[number]]
        keep[number] = not _is_frame(place == number + 1)
    return pieces.only(keep)


def _is_frame(ink: np.ndarray) -> bool:
    """Whether ink runs along all four sides, as no digit's does."""
    rows, columns = (max(2, round(0.1 * side)) for side in ink.shape)
    sides = (
        ink[:rows].any(axis=0),
        ink[-rows:].any(axis=0),
        ink[:, :columns].any(axis=1),
        ink[:, -columns:].any(axis=1),
    )
    return bool(min(side.mean() for side in sides) > 0.85)


def _put_together(boxes: np.ndarray, digit_height: float) -> list[np.ndarray]:
    """Groups of pieces that are one digit: a bar and its stem, what a thin pen left in pieces."""
    if not len(boxes):
        return []
    top, left, bottom, right = boxes.T
    height, width = bottom - top, right - left
    tallest = np.maximum.outer(height, height)
    lowest = np.minimum.outer(height, height)
    gap_y = np.maximum.outer(top, top) - np.minimum.outer(bottom, bottom)
    gap_x = np.maximum.outer(left, left) - np.minimum.outer(right, right)
    union_height = np.maximum.outer(bottom, bottom) - np.minimum.outer(top, top)
    union_width = np.maximum.outer(right, right) - np.minimum.outer(left, left)
    narrowest = np.minimum.outer(width, width)
    usual = np.maximum(tallest, digit_height)
    fits = (union_height <= 1.3 * usual) & (union_width <= 1.4 * usual)
    is_stacked = (-gap_x >= 0.4 * narrowest) & (gap_y <= 0.2 * digit_height) & (lowest < 0.75 * digit_height)
    is_beside = (np.maximum(gap_x, gap_y) <= 0.12 * digit_height) & (lowest < 0.4 * digit_height)
    is_linked = fits & (is_stacked | is_beside)
    _, group = connected_components(csr_matrix(is_linked), directed=False)
    return [np.flatnonzero(group == number) for number in range(group.max() + 1)]


def _has_size(pieces: _Pieces, members: np.ndarray, digit_height: float, shape: tuple[int, ...]) -> bool:
    boxes = pieces.boxes[members]
    height, width = boxes[:, 2].max() - boxes[:, 0].min(), boxes[:, 3].max() - boxes[:, 1].min()
    size = max(height, width)
    is_solid = pieces.area[members].sum() > 0.7 * height * width and min(height, width) > 0.4 * size
    return bool(size >= (0.6 if is_solid else 0.35) * digit_height and size >= _SMALLEST)


def _make_group(
    flat: np.ndarray,
    pieces: _Pieces,
    members: np.ndarray,
    digit_height: float,
    scale: tuple[float, float],
) -> Group:
    boxes = pieces.boxes[members]
    top, left = (int(v) for v in boxes[:, :2].min(axis=0))
    bottom, right = (int(v) for v in boxes[:, 2:].max(axis=0))
    # A rim of one pixel: ink fades out there.
    top, left = max(top - 1, 0), max(left - 1, 0)
    bottom, right = min(bottom + 1, flat.shape[0]), min(right + 1, flat.shape[1])
    is_own = np.isin(pieces.labels[top:bottom, left:right], members + 1)
    near = ndimage.binary_dilation(is_own, _EIGHT)
    ink = np.where(near, flat[top:bottom, left:right], 0)
    strokes = ink[is_own]
    peak = float(np.percentile(strokes[strokes >= strokes.max() / 2], 95))
    ink = np.clip(ink / peak, 0, 1)
    cut_ink, parts = find_parts(ink, digit_height)
    found = []
    for start, end, part in parts:
        rows, columns = np.flatnonzero((part > _RIM).any(axis=1)), np.flatnonzero((part > _RIM).any(axis=0))
        ends = (top + rows[0], left + columns[0], top + rows[-1] + 1, left + columns[-1] + 1)
        box = tuple(round(float(value) * scale[i % 2]) for i, value in enumerate(ends))
        found.append(Part(start, end, (box[0], box[1], box[2], box[3]), place_ink(part)))
    return Group(cut_ink, found)
