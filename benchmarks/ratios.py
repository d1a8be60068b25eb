"""Statistics of interleaved rounds."""

import statistics
from collections.abc import Mapping, Sequence


def round_ratios(reference: Sequence[float], other: Sequence[float]) -> list[float]:
    """How many times faster the reference was, round by round.

    What slows a machine down for a while slows both, so a ratio within a round says more than two medians.

    Args:
        reference: seconds a step, one a round.
        other: seconds a step of the same rounds.

    Raises:
        ValueError: for another number of rounds, or none.
    """
    if not reference or len(reference) != len(other):
        raise ValueError(f"got {len(reference)} and {len(other)} rounds; expected the same number, above 0")
    return [theirs / ours for ours, theirs in zip(reference, other, strict=True)]


def compare_to(reference: str, seconds_per_step: Mapping[str, Sequence[float]]) -> dict[str, dict]:
    """Gives, for each contender but the reference, the ratios of all rounds, their median, least and most."""
    ours = seconds_per_step[reference]
    compared = {}
    for name, seconds in seconds_per_step.items():
        if name != reference:
            ratios = round_ratios(ours, seconds)
            compared[name] = {
                "ratios": ratios,
                "median": statistics.median(ratios),
                "min": min(ratios),
                "max": max(ratios),
            }
    return compared


def best_of(prefix: str, seconds_per_step: Mapping[str, Sequence[float]]) -> str | None:
    """The fastest contender by median whose name begins so; None where there is none."""
    family = [name for name in seconds_per_step if name.startswith(prefix)]
    return min(family, key=lambda name: statistics.median(seconds_per_step[name]), default=None)
