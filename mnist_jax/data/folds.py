"""Folds of cross-validation: examples of one group (a writer) lie in the same fold."""

import numpy as np
from jaxtyping import Int64, Integer


def assign_folds(
    labels: Integer[np.ndarray, "num_examples"],
    groups: Integer[np.ndarray, "num_examples"] | None,
    strata: Integer[np.ndarray, "num_examples"] | None,
    num_folds: int,
    seed: int = 0,
) -> Int64[np.ndarray, "num_examples"]:
    """Assigns examples to folds of about one size, with classes and strata in each as in all.

    Groups are taken from the largest to the smallest, equal ones in a random order; each goes where the
    squared numbers of examples, of each class in each stratum relative to all, add up to least. Without
    groups the examples of each class are dealt out in a random order.

    Args:
        labels: int ``[N]``.
        groups: int ``[N]``, such as who wrote each digit, or None.
        strata: int ``[N]``, such as which kind of people they are; a group belongs to one. None = one.
        num_folds: at least 2.
        seed: decides which. Not that of a run: runs with several seeds are compared on the same folds.

    Returns:
        int64 ``[N]``, from 0, the same on every machine.

    Raises:
        ValueError: fewer examples or groups than folds.
    """
    rng = np.random.default_rng(seed)
    num_units = len(labels) if groups is None else len(np.unique(groups))
    if num_units < num_folds:
        kind = "images" if groups is None else "groups (writers)"
        raise ValueError(f"{num_folds} folds need as many {kind}; there are {num_units}")
    if groups is None:
        order = rng.permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]
        folds = np.empty(len(labels), np.int64)
        folds[order] = np.arange(len(labels)) % num_folds
        return folds
    _, group_of = np.unique(groups, return_inverse=True)
    kinds = labels if strata is None else np.stack([strata, labels], axis=1)
    _, kind_of = np.unique(kinds, axis=0, return_inverse=True)
    # Examples of each group by kind, of all [groups, kinds].
    counts = np.zeros((num_units, kind_of.max() + 1))
    np.add.at(counts, (group_of, kind_of), 1)
    weights = 1.0 / counts.sum(axis=0)
    order = rng.permutation(num_units)
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled = np.zeros((num_folds, counts.shape[1]))
    fold_of_group = np.empty(num_units, np.int64)
    for group in order:
        # What the sum of squares grows by, but for what is the same in every fold.
        growth = (filled * counts[group] * weights).sum(axis=1)
        fold_of_group[group] = np.argmin(growth)
        filled[fold_of_group[group]] += counts[group]
    return fold_of_group[group_of]
