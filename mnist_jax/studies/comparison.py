"""Whether two studies differ: paired by seed, from their folders."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mnist_jax.errors import RunError
from mnist_jax.metrics.statistics import compare_paired, summarize
from mnist_jax.storage.json_files import SUMMARY_FILE, read_config, read_summary, write_json_atomic
from mnist_jax.storage.results import read_results, results_path


def compare_studies(first: str, second: str) -> dict[str, Any]:
    """Compares the accuracies of two studies, each the folder of one, or the results file in it.

    Measured on test, the comparison is noted in the ``summary.json`` of both: whoever goes on with one of
    them has chosen by test labels.

    Returns:
        ``first`` and ``second`` (statistics over all their seeds), ``differences`` (accuracy of the second
        less that of the first, over the common seeds), ``p_value``, ``seeds_needed``, ``differs``, ``split``,
        ``test_labels_used_for_choice``, ``noted_in`` (the studies whose summary says so now).

    Raises:
        RunError: a file is missing or damaged, the two were measured on different images, or they have no
            seed in common.
    """
    paths = (first, second)
    if results_path(first).resolve() == results_path(second).resolve():
        raise RunError(f"{first} and {second} are the same study; expected two")
    splits, images = zip(*(_measured_on(path) for path in paths), strict=True)
    if splits[0] != splits[1]:
        raise RunError(f"{first} was measured on {splits[0]}, {second} on {splits[1]}; expected one split")
    if images[0] != images[1]:
        raise RunError(
            f"{first} and {second} were measured on different images (sha256 {images[0][:12]} and "
            f"{images[1][:12]}); expected studies of the same data"
        )
    errors, (num_examples, _) = zip(*(_errors_by_seed(path) for path in paths), strict=True)
    try:
        comparison = compare_paired(errors[0], errors[1], num_examples)
    except ValueError as error:
        raise RunError(f"{first} and {second}: {error}") from error
    on_test = splits[0] == "test"
    accuracies = [summarize([1 - count / num_examples for count in group.values()]) for group in errors]
    return {
        "first": {"name": first, **asdict(accuracies[0])},
        "second": {"name": second, **asdict(accuracies[1])},
        **asdict(comparison),
        "differs": comparison.differs,
        "split": splits[0],
        "test_labels_used_for_choice": on_test,
        "noted_in": [path for path, other in (paths, paths[::-1]) if on_test and _note(path, other)],
    }


def noted_comparisons(folder: Path) -> dict[str, Any]:
    """Returns what comparisons on test have noted in a study's summary, for the one that replaces it."""
    summary = read_summary(folder)
    names = ("test_labels_used_for_choice", "compared_on_test_with")
    return {"test_labels_used_for_choice": False} | {n: summary[n] for n in names if n in summary}


def _measured_on(path: str) -> tuple[str, str]:
    """Returns the split and the SHA-256 of the images and labels that a study was measured on."""
    folder = results_path(path).parent
    _, run = read_config(folder)
    split = str(run.get("split"))
    sha256 = run.get("dataset", {}).get("test_sha256") if split == "test" else run.get("measured_sha256")
    if not isinstance(sha256, str):
        raise RunError(
            f"{folder} does not say which images it was measured on; expected a study of this version"
        )
    return split, sha256


def _errors_by_seed(path: str) -> tuple[dict[int, int], int]:
    """Returns the errors of each seed, and the images that they are among: over all folds, if any."""
    lines = read_results(path)
    if not lines:
        raise RunError(f"{results_path(path)}: no results; expected those of a study")
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for line in lines:
        if not all(isinstance(line.get(name), int) for name in ("errors", "num_examples")):
            raise RunError(
                f"{results_path(path)}: seed {line['seed']} has no errors and num_examples; expected the "
                "results of a study"
            )
        of_seed = found.setdefault(line["seed"], {})
        if line.get("fold", 0) in of_seed:
            raise RunError(f"{results_path(path)}: a seed with several results; expected those of a study")
        of_seed[line.get("fold", 0)] = line["errors"], line["num_examples"]
    _, run = read_config(results_path(path).parent)
    complete = [seed for seed, folds in found.items() if len(folds) == run.get("num_folds", 1)]
    if not complete:
        raise RunError(f"{results_path(path)}: no seed has ended on every fold yet; go on with the study")
    sums = {seed: np.sum(list(found[seed].values()), axis=0).tolist() for seed in complete}
    return {seed: errors for seed, (errors, _) in sums.items()}, sums[complete[0]][1]


def _note(path: str, other: str) -> bool:
    """Notes a comparison on test in a study's summary; False where there is none, or it cannot be written."""
    folder = results_path(path).parent
    summary = read_summary(folder)
    if not summary:
        return False
    compared = {*summary.get("compared_on_test_with", ()), str(results_path(other).parent.absolute())}
    summary |= {"test_labels_used_for_choice": True, "compared_on_test_with": sorted(compared)}
    try:
        write_json_atomic(folder / SUMMARY_FILE, summary)
    except RunError:
        return False
    return True
