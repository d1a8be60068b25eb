"""Whether two networks differ, by their answers to the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy.special import bdtr


@dataclass(frozen=True)
class McNemar:
    """Two networks on the same images."""

    only_first: int  # images that the first alone has right
    only_second: int
    # Of McNemar's exact test, two-sided: how often networks that are equally good differ this much on so many
    # images. It is about these two networks; other seeds of the same recipes differ too.
    p_value: float


def mcnemar_exact(
    first_right: Bool[np.ndarray, " examples"], second_right: Bool[np.ndarray, " examples"]
) -> McNemar:
    """Compares two networks by the images that one has right and the other wrong.

    Source:
        McNemar 1947; the exact form takes the smaller count as binomial with a half.
    """
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    tail = float(bdtr(min(only_first, only_second), only_first + only_second, 0.5))
    return McNemar(only_first, only_second, min(1.0, 2 * tail))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for being several, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
