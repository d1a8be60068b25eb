"""The learning rate that a sweep suggests."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# A loss of so many times the lowest is past saving: what comes after it says nothing.
_DIVERGED = 4.0
# The average goes over this share of the sweep: a single batch says little.
_MEMORY = 0.04
HOW = "the rate at which the smoothed loss had done half of its fall"


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
    """Suggests a learning rate: that at which the smoothed loss was halfway down (after Smith 2017).

    There every update still helps. The lowest loss is where they begin to harm, and how far that is above a
    rate that trains well differs by optimizer and from seed to seed.

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
    highest = first + int(smoothed[first:lowest].argmax())
    is_halfway = smoothed[highest : lowest + 1] <= (smoothed[highest] + smoothed[lowest]) / 2
    halfway = highest + int(is_halfway.argmax())
    return Suggestion(float(rates[halfway]), float(smoothed[lowest]), float(rates[lowest]), used, smoothed)
