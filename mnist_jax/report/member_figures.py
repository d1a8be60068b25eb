"""Figures of many trainings: seeds of a study, members of an ensemble, rounds of pseudo labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mnist_jax.metrics.predictions import wilson_interval
from mnist_jax.report import style

_MOST_ROWS = 40  # with names beside them


def accuracies(
    names: Sequence[str],
    errors: Sequence[int],
    num_examples: int | Sequence[int],
    *,
    mean: float | None = None,
    interval: tuple[float, float] | None = None,
    line: tuple[str, float] | None = None,
) -> Figure:
    """Draws the wrong answers of each training as a dot, with the interval from so many images.

    Args:
        names: of the trainings, from the top; left out where there are more than 40.
        errors: wrong answers of each.
        num_examples: images that each was measured on, one number for all or one each.
        mean: mean share of wrong answers, drawn as a line.
        interval: of that mean, drawn as a band.
        line: a name and another share of wrong answers to compare with.
    """
    few = len(names) <= _MOST_ROWS
    figure = style.new_figure(1.1 + (0.19 * len(names) if few else 5.0))
    axes = figure.add_subplot()
    if interval is not None:
        axes.axvspan(100 * interval[0], 100 * interval[1], color=style.ACCENT, alpha=0.14, linewidth=0)
    if mean is not None:
        axes.axvline(100 * mean, color=style.ACCENT, linewidth=1.2, label="mean")
    if line is not None:
        axes.axvline(100 * line[1], color=style.WARM, linewidth=1.4, linestyle="--", label=line[0])
    sizes = np.broadcast_to(num_examples, len(errors)).tolist()
    shares = [count / size for count, size in zip(errors, sizes, strict=True)]
    best, worst = min(shares), max(shares)
    for row, share in enumerate(shares):
        low, high = wilson_interval(errors[row], sizes[row])
        color = style.WARM if share in (best, worst) and best < worst else style.ACCENT
        axes.plot([100 * low, 100 * high], [row, row], color=color, linewidth=3, alpha=0.25)
        axes.plot(100 * share, row, "o", color=color, markersize=4.5)
    style.style_axes(axes, xlabel="wrong answers (%), with the 95% interval of one", grid="x")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)) if few else [], names if few else [], parse_math=False)
    axes.tick_params(axis="y", length=0)
    if mean is not None or line is not None:
        style.legend(axes, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def losses_by_epoch(losses: Mapping[str, Sequence[float]], highlighted: Mapping[str, str]) -> Figure:
    """Draws the training loss of each training over its epochs; the highlighted ones thicker, in a color."""
    figure = style.new_figure(2.8)
    axes = figure.add_subplot()
    for name, values in losses.items():
        color = highlighted.get(name)
        epochs = range(1, len(values) + 1)
        axes.plot(
            epochs,
            values,
            color=color or style.MUTED,
            linewidth=1.8 if color else 0.9,
            alpha=1.0 if color else 0.55,
            label=name if color else None,
            marker="o" if len(values) <= 20 else "",
            markersize=3.5 if color else 2.5,
            zorder=3 if color else 2,
        )
    style.style_axes(axes, xlabel="epoch", ylabel="training loss (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    if highlighted:
        style.legend(axes)
    return figure


def accuracy_by_size(sizes: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the wrong answers of a vote by the number of its members.

    Args:
        sizes: as ``mnist_jax.metrics.voting.accuracy_by_size`` returns them.
    """
    figure = style.new_figure(2.8)
    axes = figure.add_subplot()
    x = [size["size"] for size in sizes]
    y = [100 * (1 - size["accuracy"]) for size in sizes]
    axes.plot(x, y, color=style.ACCENT, linewidth=1.5, marker="o", markersize=3.5)
    style.style_axes(axes, xlabel="members", ylabel="wrong answers of the vote (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    return figure


def disagreements(shares: Float[np.ndarray, "members members"], names: Sequence[str]) -> Figure:
    """Draws the share of images on which each two members differ; numbers for up to 12 members."""
    count = len(names)
    figure = style.new_figure(4.4)
    axes = figure.add_subplot()
    strength = shares / max(shares.max(), 1e-12)
    for (row, column), share in np.ndenumerate(shares):
        if row == column:
            continue
        alpha = 0.08 + 0.62 * strength[row, column]
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, color=style.ACCENT, alpha=alpha, linewidth=0)
        )
        if count <= 12:
            axes.text(
                column, row, f"{100 * share:.2g}", ha="center", va="center", fontsize=8, color=style.INK
            )
    style.style_axes(axes, grid="")
    few = count <= 20
    axes.set_xticks(range(count) if few else [], names if few else [], rotation=90, parse_math=False)
    axes.set_yticks(range(count) if few else [], names if few else [], parse_math=False)
    axes.tick_params(length=0)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def stages(names: Sequence[str], wrong: Mapping[str, Sequence[float]], mean: Sequence[float]) -> Figure:
    """Draws the wrong answers after each stage of a training, a thin line a seed and a thick one the mean.

    Args:
        names: of the stages, in order; the last one stands apart, for nothing leads to it.
        wrong: share of wrong answers after each stage, by seed.
        mean: over the seeds.
    """
    figure = style.new_figure(3.0)
    axes = figure.add_subplot()
    x = [*range(len(names) - 1), len(names) - 0.6]
    for values, color, width in [*((v, style.MUTED, 0.9) for v in wrong.values()), (mean, style.ACCENT, 2.0)]:
        percents = [100 * value for value in values]
        alpha = 0.6 if color == style.MUTED else 1.0
        axes.plot(x[:-1], percents[:-1], "-o", color=color, linewidth=width, markersize=4, alpha=alpha)
        axes.plot(x[-1:], percents[-1:], "D", color=color, markersize=5, alpha=alpha)
    style.style_axes(axes, ylabel="wrong answers (%)")
    axes.set_xticks(x, names, parse_math=False)
    axes.set_xlim(-0.4, x[-1] + 0.4)
    return figure


def counts_by_class(
    accepted: Int[np.ndarray, "rounds classes"],
    right: Int[np.ndarray, "rounds classes"] | None,
    class_names: Sequence[str],
) -> Figure:
    """Draws the accepted labels of each class in each round, those that are wrong in another color."""
    rounds, classes = accepted.shape
    figure = style.new_figure(max(2.6, 0.17 * rounds * classes + 0.9))
    axes = figure.add_subplot()
    height = 0.8 / rounds
    for i in range(rounds):
        y = np.arange(classes) + (i - (rounds - 1) / 2) * height
        alpha = 0.45 + 0.55 * (i + 1) / rounds
        good = accepted[i] if right is None else right[i]
        axes.barh(y, good, 0.9 * height, color=style.ACCENT, alpha=alpha, linewidth=0, label=f"round {i + 1}")
        if right is not None:
            axes.barh(y, accepted[i] - right[i], 0.9 * height, left=right[i], color=style.WARM, linewidth=0)
    style.style_axes(
        axes, xlabel="accepted labels" + ("" if right is None else "; the wrong ones in orange"), grid="x"
    )
    axes.set_yticks(range(classes), style.drawable(class_names), parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(classes - 0.4, -0.6)
    if rounds > 1:
        style.legend(axes, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure
