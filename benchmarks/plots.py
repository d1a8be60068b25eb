"""Figures of the results, in the look of the project's other figures."""

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes

from mnist_jax.report.style import ACCENT, FONT_SIZE, INK, MUTED, WARM, legend, new_figure, style_axes


def plot_compare(result: dict[str, Any], path: str) -> None:
    """Draws images per second of each contender, fastest on top."""
    contenders = sorted(result["contenders"].items(), key=lambda item: item[1]["images_per_second"])
    figure = new_figure(0.6 + 0.28 * len(contenders))
    axes = figure.subplots()
    rates = [contender["images_per_second"] for _, contender in contenders]
    colors = [ACCENT if name == "ours" else MUTED for name, _ in contenders]
    axes.barh([contender["title"] for _, contender in contenders], rates, color=colors, height=0.7)
    _label_bars(axes, rates, [f"{rate:,.0f}" for rate in rates])
    style_axes(axes, xlabel=f"images per second, batch {result['settings']['batch_size']}", grid="x")
    figure.suptitle(result["device"], fontsize=FONT_SIZE, color=INK)
    _save(figure, path)


def plot_steps_per_sec(result: dict[str, Any], path: str) -> None:
    """Draws images per second and the effective share of the product rate over the batch size."""
    sizes = [entry["batch_size"] for entry in result["batch_sizes"]]
    figure = new_figure(2.4)
    left, right = figure.subplots(1, 2)
    left.plot(sizes, [entry["images_per_second"] for entry in result["batch_sizes"]], "o-", color=ACCENT)
    shares = [100 * entry["effective_share_of_product_rate"] for entry in result["batch_sizes"]]
    right.plot(sizes, shares, "o-", color=WARM)
    for axes, label in ((left, "images per second"), (right, "effective % of the product rate")):
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        style_axes(axes, xlabel="batch size", ylabel=label)
    _save(figure, path)


def plot_time_to_accuracy(result: dict[str, Any], path: str) -> None:
    """Draws each seed's accuracy over its seconds, with the target."""
    figure = new_figure(2.4)
    axes = figure.subplots()
    seconds = [run["train_seconds"] for run in result["runs"]]
    axes.plot(seconds, [100 * run["accuracy"] for run in result["runs"]], "o", color=ACCENT, label="a seed")
    axes.axhline(100 * result["mean_accuracy"], color=ACCENT, linewidth=1, label="mean")
    axes.axhline(100 * result["settings"]["target"], color=WARM, linewidth=1, linestyle="--", label="target")
    axes.set_xlim(left=0)
    style_axes(axes, xlabel="seconds of training", ylabel=f"{result['split']} accuracy, %")
    legend(axes)
    _save(figure, path)


def plot_accelerator(result: dict[str, Any], path: str) -> None:
    """Draws images per second over the batch size, a line for each stage that measured steps."""
    figure = new_figure(2.6)
    axes = figure.subplots()
    for name, found in result["stages"].items():
        if name.startswith("steps-"):
            entries = found["result"]["batch_sizes"]
            sizes = [entry["batch_size"] for entry in entries]
            rates = [entry["images_per_second"] for entry in entries]
            axes.plot(sizes, rates, "o-", label=name.removeprefix("steps-"))
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    style_axes(axes, xlabel="batch size", ylabel="images per second")
    if axes.lines:
        legend(axes)
    figure.suptitle(result["device"], fontsize=FONT_SIZE, color=INK)
    _save(figure, path)


def plot_shares(names: Sequence[str], milliseconds: Sequence[float], path: str) -> None:
    """Draws milliseconds a step by kind of work."""
    figure = new_figure(0.6 + 0.28 * len(names))
    axes = figure.subplots()
    axes.barh(list(names)[::-1], list(milliseconds)[::-1], color=ACCENT, height=0.7)
    _label_bars(axes, milliseconds[::-1], [f"{value:.1f}" for value in milliseconds[::-1]])
    style_axes(axes, xlabel="milliseconds a step", grid="x")
    _save(figure, path)


def plot_rounds(pairs: Sequence[tuple[float, float]], labels: tuple[str, str], path: str) -> None:
    """Draws two times for each round."""
    figure = new_figure(2.2)
    axes = figure.subplots()
    for index, (label, color) in enumerate(zip(labels, (ACCENT, WARM), strict=True)):
        values = [pair[index] for pair in pairs]
        axes.plot(range(1, len(values) + 1), values, "o-", color=color, label=label)
    axes.set_ylim(bottom=0)
    style_axes(axes, xlabel="round", ylabel="seconds")
    legend(axes)
    _save(figure, path)


def _label_bars(axes: Axes, values: Sequence[float], texts: Sequence[str]) -> None:
    for position, (value, text) in enumerate(zip(values, texts, strict=True)):
        axes.text(value, position, f" {text}", va="center", fontsize=FONT_SIZE, color=INK)
    axes.set_xlim(0, 1.18 * max(values))


def _save(figure: matplotlib.figure.Figure, path: str) -> None:
    figure.savefig(path, dpi=200)
