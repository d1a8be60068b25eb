"""Validation images by other writers: examples of one group are held out together or not at all."""

import numpy as np
from jaxtyping import Int64, Integer

# Orders of the groups that are tried for the likest shares of the classes.
_NUM_DRAWS = 64


def draw_groups(
    labels: Integer[np.ndarray, "num_examples"],
    groups: Integer[np.ndarray, "num_examples"],
    strata: Integer[np.ndarray, "num_examples"] | None,
    num_drawn: int,
    seed: int = 0,
) -> Int64[np.ndarray, "num_drawn"]:
    """Draws whole groups that have exactly so many examples, as many of each stratum, classes as in all.

    Of several draws, each of which takes the groups in a random order as far as they add up to the number,
    the one is taken whose shares of the classes are nearest to those of all examples.

    Args:
        labels: int ``[N]``.
        groups: int ``[N]``, such as who wrote each digit.
        strata: int ``[N]``, such as which kind of people they are; a group belongs to one. None = one.
        num_drawn: how many examples, fewer than N.
        seed: decides which. Not that of a run: runs with several seeds are compared on the same examples.

    Returns:
        int64 ``[num_drawn]``, indices into ``labels``, rising, the same on every machine.

    Raises:
        ValueError: no groups have that many examples; says what is nearest.
    """
    rng = np.random.default_rng(seed)
    members = {group: np.flatnonzero(groups == group) for group in np.unique(groups)}
    by_stratum: dict[int, list[int]] = {}
    for group, indices in members.items():
        by_stratum.setdefault(0 if strata is None else int(strata[indices[0]]), []).append(group)
    wanted = _equal_shares([sum(len(members[g]) for g in found) for found in by_stratum.values()], num_drawn)
    shares = np.bincount(labels) / len(labels)
    best, smallest = None, np.inf
    for _ in range(_NUM_DRAWS):
        drawn: list[np.ndarray] = []
        for found, number in zip(by_stratum.values(), wanted, strict=True):
            order = rng.permutation(found)
            chosen = _adding_up([len(members[group]) for group in order], number)
            drawn += [members[order[i]] for i in chosen]
        indices = np.sort(np.concatenate(drawn)) if drawn else np.empty(0, np.int64)
        if len(indices) != num_drawn:
            raise ValueError(
                f"no whole groups (writers) have {num_drawn} examples; the nearest is {len(indices)}"
            )
        difference = np.abs(np.bincount(labels[indices], minlength=len(shares)) / num_drawn - shares).max()
        if difference < smallest:
            best, smallest = indices, difference
    assert best is not None
    return best


def _equal_shares(sizes: list[int], total: int) -> list[int]:
    """Divides a total evenly over strata, none of which gives more than half of what it has."""
    wanted = [0] * len(sizes)
    for place, i in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        left = total - sum(wanted)
        strata_left = len(sizes) - place
        wanted[i] = left if strata_left == 1 else min(left // strata_left, sizes[i] // 2)
    return wanted


def _adding_up(sizes: list[int], total: int) -> list[int]:
    """The places of sizes whose sum is the total, the first that will do; or the nearest sum below it.

    Subset sums as bits of whole numbers: bit n of ``reached[k]`` is set if some of the first k add up to n.
    """
    reached, mask = [1], (1 << (total + 1)) - 1
    for size in sizes:
        reached.append((reached[-1] | reached[-1] << size) & mask)
    left, chosen = reached[-1].bit_length() - 1, []
    for place in reversed(range(len(sizes))):
        if not reached[place] >> left & 1:
            chosen.append(place)
            left -= sizes[place]
    return chosen[::-1]
