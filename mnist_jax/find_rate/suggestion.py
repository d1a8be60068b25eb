"""The learning rate that a sweep suggests."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# A loss of so many times the lowest is past saving: what comes after it says nothing.
_DIVERGED = 4.0
# The average goes over this share of the sweep: a single batch says little.
_MEMORY = 0.04
_SHARE_OF_LOWEST = 0.1
HOW = "a tenth of the rate at which the smoothed loss was lowest"


@dataclass(frozen=True)
class Suggestion:
    """What a sweep suggests; all of it follows from the rates and the losses alone."""

    learning_rate: float
    lowest_loss: float  # the lowest of the smoothed losses, in nats
    lowest_at: float  # the rate at which that was
    num_used: int  # updates before the loss diverged
    smoothed: Float[np.ndarray, " used"]  # the average of the losses, update by update


def smooth(losses: Float[np.ndarray, " updates"]) -> Float[np.ndarray, " updates"]:
    """Averages each loss with those before it: an exponential average, its start corrected as Adam's is."""
    decay = 1.0 - 1.0 / max(_MEMORY * len(losses), 1.0)
    average, smoothed = 0.0, np.empty(len(losses))
    for index, loss in enumerate(losses.tolist()):
        average = decay * average + (1.0 - decay) * loss
        smoothed[index] = average / (1.0 - decay ** (index + 1))
    return smoothed


def count_used(losses: Float[np.ndarray, " updates"]) -> int:
    """Counts the updates before the loss diverged: it is not finite, or far above its lowest."""
    smoothed = smooth(losses)
    lowest = np.minimum.accumulate(np.where(np.isfinite(smoothed), smoothed, np.inf))
    diverged = ~(smoothed <= _DIVERGED * lowest)
    return int(diverged.argmax()) if diverged.any() else len(losses)


def suggest(rates: Float[np.ndarray, " updates"], losses: Float[np.ndarray, " updates"]) -> Suggestion:
    """Suggests a learning rate: a tenth of that with the lowest smoothed loss (Smith 2017; Gugger 2018).

    Args:
        rates: rising, one an update.
        losses: of the batch that each update was made from, before it, in nats.

    Raises:
        ValueError: the loss never fell, so nothing can be said.
    """
    used = count_used(losses)
    smoothed = smooth(losses)[:used]
    # The average of fewer than its memory is a batch or two.
    first = round(_MEMORY * len(losses))
    lowest = first + int(smoothed[first:].argmin()) if used > first else first
    if lowest == first:
        raise ValueError("the loss never fell")
    lowest_at = float(rates[lowest])
    return Suggestion(_SHARE_OF_LOWEST * lowest_at, float(smoothed[lowest]), lowest_at, used, smoothed)
