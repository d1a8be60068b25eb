"""Figures and pictures as text to put inside an HTML page."""

import base64
import io
import re
import warnings

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from mnist_jax.report import style

# A page sets these custom properties for its light and its dark theme; the figure's own colors stand in.
_PROPERTIES = {
    style.INK: "--ink",
    style.MUTED: "--muted",
    style.LINE: "--line",
    style.ACCENT: "--accent",
    style.WARM: "--warm",
    **{color: f"--series-{number}" for number, color in enumerate(style.SERIES[2:], 3)},
}


def png_uri(image: UInt8[np.ndarray, "height width channels"], width: int = 1) -> str:
    """Encodes an RGB or RGBA image as the ``data:`` address of a PNG.

    Args:
        image: the pixels.
        width: pixels are repeated until the image is at least this wide, so that they stay square where a
            browser scales it.
    """
    pixels, palette = _with_palette(image)
    times = -(-width // image.shape[1])
    picture = Image.fromarray(pixels.repeat(times, axis=0).repeat(times, axis=1))
    options = {}
    if palette is not None:
        picture.putpalette(palette[:, :3].tobytes(), "RGB")
        options["transparency"] = palette[:, 3].tobytes()
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _with_palette(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Converts RGBA of few colors to indices and a palette ``[colors, 4]``: a third of the size or less."""
    if image.shape[-1] != 4:
        return image, None
    colors, indices = np.unique(np.ascontiguousarray(image).view(np.uint32)[..., 0], return_inverse=True)
    if len(colors) > 256:
        return image, None
    return indices.reshape(image.shape[:2]).astype(np.uint8), colors.view(np.uint8).reshape(-1, 4)


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Renders a figure as an ``<svg>`` that takes its width, font and colors from the page around it.

    Args:
        figure: made with ``report.style``; its five colors become the page's ``--ink``, ``--muted``,
            ``--line``, ``--accent`` and ``--warm``.
        name: unique on the page; keeps the ids of several figures apart, and the same from run to run.
        description: read out in place of the picture.
    """
    buffer = io.StringIO()
    # Only while the file is written, and put back: text stays text, ids are not random.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        # A class may be named in Chinese: the reader's browser draws the text, not matplotlib.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        style.fit_labels(figure)
        # Not by `Figure.savefig`, which draws everything twice.
        figure.patch.set_visible(False)
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Its style sheet would hold for the entire page.
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    viewbox = re.search(r'viewBox="[^"]*"', svg)
    if viewbox is None:
        raise ValueError(f"figure {name}: expected matplotlib's SVG to have a viewBox")
    opening = f'<svg {viewbox[0]} role="img" aria-label="{_attribute(description)}" class="figure">'
    svg = opening + svg[svg.index(">") + 1 :]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg).replace("xlink:href", "href")
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    for color, variable in _PROPERTIES.items():
        svg = svg.replace(color, f"var({variable}, {color})")
    return svg


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
