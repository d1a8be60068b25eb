"""The picture of a sweep."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mnist_jax.find_rate.suggestion import Suggestion
from mnist_jax.report import style


def draw_sweep(
    rates: Float[np.ndarray, " updates"], losses: Float[np.ndarray, " updates"], suggestion: Suggestion
) -> Figure:
    """Draws the losses over the learning rates, up to where they diverged, and the suggested rate."""
    used = suggestion.num_used
    figure = style.new_figure(3.2)
    axes = figure.add_subplot()
    axes.plot(rates[:used], losses[:used], ".", color=style.WARM, markersize=2, alpha=0.5, label="batch")
    axes.plot(rates[:used], suggestion.smoothed, color=style.ACCENT, linewidth=1.5, label="smoothed")
    axes.axvline(suggestion.learning_rate, color=style.MUTED, linewidth=1, linestyle="--", label="suggested")
    axes.axvline(suggestion.lowest_at, color=style.MUTED, linewidth=1, linestyle=":", label="lowest")
    axes.set_xscale("log")
    # A few batches far above the rest would flatten all that matters.
    axes.set_ylim(0, 1.3 * float(suggestion.smoothed[: max(used // 2, 2)].max()))
    style.style_axes(axes, xlabel="learning rate", ylabel="training loss (nats)")
    style.legend(axes)
    return figure
