"""Colors, color maps and axes of all figures; matplotlib's global state is left alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num, Shaped, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

# Each is used for one purpose only, so that a page can swap them for those of its dark theme by their value.
INK = "#1d2329"
MUTED = "#626c78"
LINE = "#d5dae1"
ACCENT = "#2a6fb4"
WARM = "#bd5b1c"
# Of several runs on one page; the second four are dashed as well.
SERIES = (ACCENT, WARM, "#2e7d4f", "#7a4fa3", "#b0324f", "#1f8a94", "#7d7420", "#6b5b53")
DASHES: tuple[Any, ...] = ("-",) * 4 + ((0, (4, 2)),) * 4

FONT_SIZE = 9.0  # points; figures are 4.6 inches wide, so that on a phone they keep about this size
FIGURE_WIDTH = 4.6  # inches
_LONGEST_NAME = 24  # characters
_GAP = 0.04  # inches around a figure

# Images fade into whatever is behind them, white paper or a dark page.
STRENGTH_MAP = LinearSegmentedColormap.from_list(
    "strength", [(0.50, 0.55, 0.62, 0.10), (0.20, 0.53, 0.87, 0.75), (0.13, 0.44, 0.80, 1)]
).with_extremes(bad=(0, 0, 0, 0))
SIGNED_MAP = LinearSegmentedColormap.from_list(
    "signed", [(0.87, 0.42, 0.13, 1), (0.6, 0.55, 0.5, 0.04), (0.17, 0.49, 0.85, 1)]
).with_extremes(bad=(0, 0, 0, 0))


def new_figure(height: float, width: float = FIGURE_WIDTH) -> Figure:
    """Makes an empty figure of a size in inches, outside pyplot, so nothing keeps it alive."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def fit_labels(figure: Figure) -> None:
    """Gives a figure's axes the room that its labels leave, and turns its layout engine off.

    The constrained layout, which weighs axes against each other, measures every text several times; here they
    share one left and one right edge, and their distance stays as it is.
    """
    figure.set_layout_engine(None)
    renderer = FigureCanvasAgg(figure).get_renderer()
    # Some room, to see by how much labels reach beyond the axes.
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.12, top=0.9)
    outer = Bbox.union([box for axes in figure.axes if (box := axes.get_tightbbox(renderer)) is not None])
    inner = Bbox.union([axes.get_window_extent(renderer) for axes in figure.axes])
    width, height = figure.bbox.size
    gap = _GAP * figure.dpi
    figure.subplots_adjust(
        left=(inner.x0 - outer.x0 + gap) / width,
        right=1 - (outer.x1 - inner.x1 + gap) / width,
        bottom=(inner.y0 - outer.y0 + gap) / height,
        top=1 - (outer.y1 - inner.y1 + gap) / height,
    )


def style_axes(axes: Axes, *, xlabel: str = "", ylabel: str = "", grid: str = "y") -> None:
    """Styles axes like those of all figures.

    Args:
        axes: changed in place.
        xlabel: with its unit.
        ylabel: with its unit; written above the axis, where it reads without turning the head.
        grid: ``x``, ``y``, ``both`` or empty for none.
    """
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=LINE, linewidth=0.8)
    axes.tick_params(which="both", color=LINE, labelcolor=MUTED, labelsize=FONT_SIZE, length=3, width=0.8)
    axes.set_xlabel(xlabel, color=MUTED, fontsize=FONT_SIZE)
    axes.set_title(ylabel, color=MUTED, fontsize=FONT_SIZE, loc="left")
    if grid:
        axes.grid(axis=grid, color=LINE, linewidth=0.6)  # type: ignore[arg-type]
        axes.set_axisbelow(True)


def legend(axes: Axes, **placement: Any) -> None:
    """Adds a legend without a frame; names of layers and runs in it are no formulas."""
    for text in axes.legend(frameon=False, fontsize=FONT_SIZE, labelcolor=INK, **placement).get_texts():
        text.set_parse_math(False)


def drawable(names: Sequence[str]) -> list[str]:
    """Returns names short enough to leave room for the figure, bytes that are not UTF-8 as escapes."""
    texts = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    return [text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 3]}..." for text in texts]


def tile_sheet(
    tiles: Num[np.ndarray, "tiles height width"], columns: int, gap: int = 1
) -> Float[np.ndarray, "sheet_height sheet_width"]:
    """Lays tiles out row by row on one sheet.

    Args:
        tiles: ``[N, H, W]``, N at least 1.
        columns: tiles in a row.
        gap: pixels between tiles; NaN, like the places that are left over.

    Returns:
        float32.
    """
    count, height, width = tiles.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan, np.float32)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def filter_sheet(
    kernel: Float[np.ndarray, "height width inputs outputs"],
) -> Float[np.ndarray, "rows columns"]:
    """Lays the kernels of a convolution out: a row for each output channel, a column for each input channel.

    The kernels of a single input channel are laid out in rows of eight instead.
    """
    height, width, inputs, outputs = kernel.shape
    tiles = np.moveaxis(kernel, (3, 2), (0, 1)).reshape(outputs * inputs, height, width)
    return tile_sheet(tiles, inputs if inputs > 1 else 8)


def strongest_kernels(
    kernel: Float[np.ndarray, "height width inputs outputs"], limit: int
) -> Float[np.ndarray, "height width few_inputs few_outputs"]:
    """Returns the ``limit`` output channels of the largest norm, each with its ``limit`` strongest inputs.

    Channels are in the order of their strength, so the rows of one output channel may be of other inputs
    than those of the next. Where there are at most ``limit`` of one, all of them are kept as they are.
    """
    inputs, outputs = kernel.shape[2:]
    if outputs > limit:
        kernel = kernel[..., np.argsort(-np.square(kernel).sum(axis=(0, 1, 2)), kind="stable")[:limit]]
    if inputs > limit:
        order = np.argsort(-np.square(kernel).sum(axis=(0, 1)), axis=0, kind="stable")[:limit]
        kernel = np.take_along_axis(kernel, order[None, None], axis=2)
    return kernel


def activation_sheet(outputs: Float[np.ndarray, "..."]) -> Float[np.ndarray, "rows columns"]:
    """Lays the output of a layer for one image out: feature maps ``[H, W, C]`` as tiles, ``[N]`` as cells.

    Raises:
        ValueError: for an array that is neither.
    """
    if outputs.ndim == 3:
        return tile_sheet(np.moveaxis(outputs, -1, 0), 4)
    if outputs.ndim == 1:
        return tile_sheet(outputs[:, None, None], 32 if outputs.size > 64 else 16, gap=0)
    raise ValueError(f"outputs have shape {outputs.shape}; expected [height, width, channels] or [units]")


def picture_rgba(
    image: Shaped[np.ndarray, "height width channels"], *, is_ink: bool
) -> UInt8[np.ndarray, "height width 4"]:
    """Makes RGBA of an image, uint8 or float in [0, 1].

    Args:
        image: gray or RGB.
        is_ink: whether gray is the opacity of black ink, as in MNIST; any other picture is drawn as it is.
    """
    pixels = image if image.dtype == np.uint8 else np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    height, width, channels = pixels.shape
    if channels == 1 and is_ink:
        rgba = np.zeros((height, width, 4), np.uint8)
        rgba[..., 3:] = pixels
        return rgba
    if channels == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    return np.concatenate([pixels, np.full((height, width, 1), 255, np.uint8)], axis=-1)


def strength_rgba(
    sheet: Float[np.ndarray, "height width"], limit: float
) -> UInt8[np.ndarray, "height width 4"]:
    """Colors values from 0 (all but transparent) to ``limit`` and beyond (full blue); NaN is transparent."""
    return STRENGTH_MAP(sheet / (limit or 1.0), bytes=True)  # type: ignore[return-value]


def signed_rgba(
    sheet: Float[np.ndarray, "height width"], limit: float
) -> UInt8[np.ndarray, "height width 4"]:
    """Colors values from ``-limit`` (orange) over 0 to ``limit`` (blue); 0 and NaN are transparent."""
    return SIGNED_MAP(0.5 + 0.5 * sheet / (limit or 1.0), bytes=True)  # type: ignore[return-value]


def typical_limit(values: Num[np.ndarray, "..."]) -> float:
    """The size that all but one in 200 values stay below: one outlier must not wash out a picture."""
    return float(np.quantile(np.abs(values), 0.995)) or 1.0
