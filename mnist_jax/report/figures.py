"""Figures of a run, for notebooks and the report: plain arrays in, a matplotlib ``Figure`` out.

    from mnist_jax.report import figures
    from mnist_jax.storage.metrics_log import read_metrics

    figures.training_curve(read_metrics(workdir), "loss")

Figures are made outside pyplot and no global setting is changed;
``figure.savefig("loss.png", dpi=200)`` saves one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mnist_jax.metrics.predictions import CalibrationBins, wilson_interval
from mnist_jax.report import style

# What is drawn of a record's field, and what the axis says.
_CURVES = {
    "loss": "loss (nats)",
    "accuracy": "wrong answers (%, logarithmic)",
    "learning_rate": "learning rate",
    "images_per_second": "training images per second",
}
_SPLITS = {"train": style.WARM, "validation": style.ACCENT, "test": style.ACCENT}


def training_curve(records: Sequence[Mapping[str, Any]], field: str) -> Figure:
    """Draws one quantity over the epochs of a run; accuracy as the share of wrong answers, which shows more.

    Args:
        records: lines of ``metrics.jsonl``, as ``mnist_jax.storage.metrics_log.read_metrics`` gives them.
        field: ``loss``, ``accuracy``, ``learning_rate`` or ``images_per_second``.

    Raises:
        ValueError: for another field.
    """
    if field not in _CURVES:
        raise ValueError(f"field is {field!r}; expected one of {', '.join(_CURVES)}")
    figure = style.new_figure(2.6)
    axes = figure.add_subplot()
    steps_per_epoch = _steps_per_epoch(records)
    measured = [record for record in records if record.get(field) is not None]
    for split, color in _SPLITS.items():
        of_split = [record for record in measured if record.get("split") == split]
        if not of_split:
            continue
        x, y = _points(of_split, field, steps_per_epoch)
        marker = "o" if split != "train" or len(x) == 1 else ""
        line = (
            "--" if split == "test" and "validation" in {record.get("split") for record in measured} else "-"
        )
        axes.plot(x, y, line, color=color, linewidth=1.5, label=split, marker=marker, markersize=3.5)
    _finish_curve(axes, field)
    return figure


def overlaid_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], field: str, splits: Sequence[str]
) -> Figure:
    """Draws one quantity of several runs over their epochs, each in a color of its own.

    Args:
        runs: the lines of ``metrics.jsonl`` of each run by its name, at most eight.
        field: as `training_curve` takes it.
        splits: whose lines are drawn; the first of them that a run has.
    """
    figure = style.new_figure(2.8)
    axes = figure.add_subplot()
    for (name, records), color, dash in zip(runs.items(), style.SERIES, style.DASHES, strict=False):
        measured = [record for record in records if record.get(field) is not None]
        of_split = [found for split in splits if (found := [r for r in measured if r.get("split") == split])]
        if not of_split:
            continue
        x, y = _points(of_split[0], field, _steps_per_epoch(records))
        axes.plot(x, y, linestyle=dash, color=color, linewidth=1.5, label=style.drawable([name])[0])
        if len(x) <= 30:
            axes.plot(x, y, ".", color=color, markersize=5)
    _finish_curve(axes, field)
    return figure


def lines_by_layer(
    epochs: Sequence[int], values: Float[np.ndarray, "epochs layers"], names: Sequence[str], ylabel: str
) -> Figure:
    """Draws a quantity of several layers over the epochs on a logarithmic axis; at most eight layers."""
    figure = style.new_figure(2.8)
    axes = figure.add_subplot()
    shown = np.unique(np.linspace(0, len(names) - 1, min(len(names), len(style.SERIES))).round().astype(int))
    for layer, color, dash in zip(shown.tolist(), style.SERIES, style.DASHES, strict=False):
        marker = "o" if len(epochs) <= 30 else ""
        axes.plot(
            epochs,
            values[:, layer],
            linestyle=dash,
            color=color,
            linewidth=1.5,
            marker=marker,
            markersize=3,
            label=style.drawable([names[layer]])[0],
        )
    style.style_axes(axes, xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlim(left=0, right=max(epochs) * 1.03)
    if np.nanmin(values, initial=1.0) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(LogLocator(subs=[1, 2, 5], numticks=12))
    style.legend(axes, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def confusion_matrix(counts: Int[np.ndarray, "classes classes"], class_names: Sequence[str]) -> Figure:
    """Draws counts by true class (rows) and predicted class (columns).

    Only mistakes are colored. With more than 20 classes the numbers are left out.
    """
    counts = np.asarray(counts)
    num_classes = len(class_names)
    figure = style.new_figure(4.4)
    axes = figure.add_subplot()
    mistakes = counts - np.diag(np.diag(counts))
    depth = np.sqrt(mistakes / max(mistakes.max(), 1))
    size = min(style.FONT_SIZE, 90 / num_classes)
    for (row, column), count in np.ndenumerate(counts):
        if mistakes[row, column]:
            shade = 0.12 + 0.58 * depth[row, column]
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, color=style.WARM, alpha=shade, linewidth=0)
            )
        if count and num_classes <= 20:
            color = style.MUTED if row == column else style.INK
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size, color=color)
    style.style_axes(axes, xlabel="predicted", ylabel="true", grid="")
    names = style.drawable(class_names)
    axes.set_xticks(range(num_classes), names, parse_math=False)
    axes.set_yticks(range(num_classes), names, parse_math=False)
    axes.tick_params(length=0, labelsize=size)
    if max(map(len, names)) > 2:
        axes.tick_params(axis="x", rotation=90)
    axes.set_xticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=style.LINE, linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.set(xlim=(-0.5, num_classes - 0.5), ylim=(num_classes - 0.5, -0.5), aspect="equal")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def per_class_accuracy(counts: Int[np.ndarray, "classes classes"], class_names: Sequence[str]) -> Figure:
    """Draws the share of each true class that was found, with its 95% interval, from a confusion matrix."""
    counts = np.asarray(counts)
    figure = style.new_figure(max(2.6, 0.3 * len(class_names) + 0.6))
    axes = figure.add_subplot()
    totals, hits = counts.sum(axis=1), np.diag(counts)
    lowest = 100.0
    for row, (hit, total) in enumerate(zip(hits.tolist(), totals.tolist(), strict=True)):
        if not total:
            continue
        low, high = (100 * bound for bound in wilson_interval(hit, total))
        lowest = min(lowest, low)
        axes.plot([low, high], [row, row], color=style.ACCENT, linewidth=4, alpha=0.3, solid_capstyle="round")
        axes.plot(100 * hit / total, row, "o", color=style.ACCENT, markersize=5)
    style.style_axes(axes, xlabel="found (%), with the 95% interval", ylabel="true class", grid="x")
    axes.set_yticks(range(len(class_names)), style.drawable(class_names), parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(class_names) - 0.5, -0.5)
    axes.set_xlim(left=lowest - 0.04 * (100 - lowest), right=100 + 0.02 * (100 - lowest))
    return figure


def calibration(bins: CalibrationBins) -> Figure:
    """Draws how often predictions of each confidence are right, and below how many there are.

    Args:
        bins: from ``mnist_jax.metrics.predictions.calibration_bins(probabilities, labels)``.
    """
    figure = style.new_figure(4.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, linestyle=(0, (4, 3)), label="perfect")
    filled = np.flatnonzero(bins.num_examples)
    for i in filled:
        low, high = wilson_interval(round(bins.accuracy[i] * bins.num_examples[i]), int(bins.num_examples[i]))
        x = bins.confidence[i]
        upper.plot([x, x], [low, high], color=style.ACCENT, linewidth=4, alpha=0.3, solid_capstyle="round")
    upper.plot(
        bins.confidence[filled],
        bins.accuracy[filled],
        "o",
        color=style.ACCENT,
        markersize=5,
        label="this network",
    )
    style.style_axes(upper, ylabel="share that is right, with the 95% interval", grid="both")
    style.legend(upper, loc="upper left")
    upper.set(xlim=(0, 1.02), ylim=(0, 1.03))
    width = np.diff(bins.edges)
    lower.bar(bins.edges[:-1] + width / 2, bins.num_examples, 0.85 * width, color=style.ACCENT, linewidth=0)
    lower.set_yscale("log")
    lower.set_ylim(bottom=0.7)
    style.style_axes(
        lower, xlabel="confidence: probability of the predicted class", ylabel="images (logarithmic)"
    )
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    lower.yaxis.set_minor_formatter(NullFormatter())
    lower.yaxis.set_minor_locator(LogLocator(subs=[]))
    return figure


def accuracy_by_change(
    lines: Mapping[str, tuple[Sequence[float], Float[np.ndarray, " amounts"]]],
    xlabel: str,
    drawn: tuple[float, float],
) -> Figure:
    """Draws the share of right answers by how far images were changed.

    Args:
        lines: by the name of a change its amounts and the shares; the names are told where there are several.
        xlabel: with the amounts' unit.
        drawn: from where to where training changed images itself, shaded; equal for not at all.
    """
    figure = style.new_figure(2.3, 3.2)
    axes = figure.add_subplot()
    if drawn[0] < drawn[1]:
        axes.axvspan(*drawn, color=style.ACCENT, alpha=0.1, linewidth=0)
    for (name, (amounts, shares)), color, mark in zip(lines.items(), style.SERIES, "os", strict=False):
        axes.plot(amounts, 100 * shares, f"-{mark}", color=color, linewidth=1.5, markersize=3.5, label=name)
    style.style_axes(axes, xlabel=xlabel, ylabel="right answers (%)")
    axes.set_ylim(0, 103)
    if len(lines) > 1:
        style.legend(axes)
    return figure


def _points(
    records: Sequence[Mapping[str, Any]], field: str, steps_per_epoch: float
) -> tuple[list[float], np.ndarray]:
    values = np.array([record[field] for record in records], float)
    # A logarithmic axis has no place for no mistake at all.
    y = np.where(values < 1, 100 * (1 - values), np.nan) if field == "accuracy" else values
    return [record["step"] / steps_per_epoch for record in records], y


def _finish_curve(axes: Any, field: str) -> None:
    style.style_axes(axes, xlabel="epoch", ylabel=_CURVES[field])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlim(left=0)
    if field == "accuracy":
        _logarithmic_percentages(axes)
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    if len(axes.lines) > 1:
        style.legend(axes)


def _steps_per_epoch(records: Sequence[Mapping[str, Any]]) -> float:
    """Steps an epoch, from the last record: an epoch under way counts as complete."""
    return (
        max((record["step"] / record["epoch"] for record in records if record.get("epoch")), default=1.0)
        or 1.0
    )


def _logarithmic_percentages(axes: Any) -> None:
    if not any((line.get_ydata() > 0).any() for line in axes.lines):
        axes.set_ylim(0, 1)  # not a single wrong answer: nothing has a logarithm
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=[1, 2, 5], numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
