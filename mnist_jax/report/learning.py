"""How a network formed: its first filters after each epoch, the norms of its weights and gradients."""

from typing import Any

import numpy as np

from mnist_jax.report import figures, style
from mnist_jax.report.inline import inline_svg, png_uri
from mnist_jax.run.epochs import EpochRecord

_MOST_ROWS = 12
_MOST_FILTERS = 16


def learning(rows: EpochRecord | None) -> dict[str, Any]:
    """What ``epochs.npz`` of a run shows, and what it does not and why."""
    found: dict[str, Any] = {"filters": None, "norms": [], "norms_text": "", "missing": ""}
    if rows is None:
        found["missing"] = "This run has no epochs.npz, so how its filters formed is not shown."
        return found
    if len(rows.kernels):
        found["filters"] = _filters(rows)
    else:
        found["missing"] = (
            "How its first filters formed is not shown: it has no convolution, or one too large to keep."
        )
    if len(rows.epoch) > 1 and rows.layers:
        found["norms"], found["norms_text"] = _norms(rows)
    return found


def _filters(rows: EpochRecord) -> dict[str, Any]:
    kept = len(rows.kernels)
    places = np.unique(np.linspace(0, kept - 1, min(kept, _MOST_ROWS)).round().astype(int)).tolist()
    last = rows.kernels[-1]
    count = last.shape[-1]
    order = np.arange(count)
    if count > _MOST_FILTERS:
        order = np.sort(np.argsort(-np.square(last).sum(axis=(0, 1, 2)), kind="stable")[:_MOST_FILTERS])
    limit = style.typical_limit(rows.kernels[..., order])
    pictures = []
    for place in places:
        # Of several input channels the mean: what the filter makes of brightness.
        kernel = rows.kernels[place][..., order].mean(axis=2)
        sheet = style.tile_sheet(np.moveaxis(kernel, -1, 0), len(order))
        pictures.append((str(rows.kernel_epoch[place]), png_uri(style.signed_rgba(sheet, limit))))
    which = f"{count} kernels" if count <= _MOST_FILTERS else f"The {len(order)} strongest of {count} kernels"
    text = f"{which} of {rows.kernel_layer}, a column each, after each epoch (0: as initialized)"
    if len(places) < len(rows.epoch):
        text += f"; {len(places)} of {len(rows.epoch)} rows are shown"
    if last.shape[2] > 1:
        text += "; the mean over the input channels"
    return {
        "layer": rows.kernel_layer,
        "text": f"{text}. Full color at ±{limit:.2g}.",
        "rows": pictures,
        "few": len(order) <= 8,
    }


def _norms(rows: EpochRecord) -> tuple[list[str], str]:
    drawn = [
        inline_svg(
            figures.lines_by_layer(
                rows.epoch.tolist(), rows.weight_norm, rows.layers, "L2 norm of the weights"
            ),
            "weight-norms",
            "L2 norm of each layer's weights over the epochs",
        )
    ]
    text = "The L2 norm of each layer's kernel as trained, epoch 0 as initialized."
    measured = np.isfinite(rows.gradient_norm).all(axis=1)
    if measured.any():
        figure = figures.lines_by_layer(
            rows.epoch[measured].tolist(), rows.gradient_norm[measured], rows.layers, "norm of the gradient"
        )
        drawn.append(inline_svg(figure, "gradient-norms", "Norm of each layer's gradient over the epochs"))
        text += " The gradient's norm is the root of its mean square over the last steps, which Adam keeps."
    else:
        text += " The optimizer keeps no mean of squared gradients, so norms of gradients are not shown."
    return drawn, text
