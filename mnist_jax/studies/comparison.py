"""Do two studies differ: paired by seed, from their folders."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnist_jax.errors import RunError
from mnist_jax.metrics.statistics import compare_paired, summarize
from mnist_jax.storage.json_files import SUMMARY_FILE, write_json_atomic
from mnist_jax.studies.results_file import read_results, results_path


def compare_studies(first: str, second: str) -> dict[str, Any]:
    """Compares the accuracies of two studies.

    Measured on test, the comparison is noted in the ``summary.json`` of both: whoever goes on with one of
    them has chosen by test labels.

    Args:
        first: the folder of a study, or its results file.
        second: the other one.

    Returns:
        ``first`` and ``second`` (statistics over all their seeds), ``differences`` (second less first, over
        the common seeds), ``p_value``, ``seeds_needed``, ``differs``, ``split``,
        ``test_labels_used_for_choice``.

    Raises:
        RunError: no results, results of different splits, or no common seed.
    """
    records = [_records(path) for path in (first, second)]
    splits = {record.get("split") for group in records for record in group}
    if len(splits) > 1:
        raise RunError(f"the results were measured on {' and '.join(sorted(map(str, splits)))}; expected one")
    accuracies = [{record["seed"]: record["accuracy"] for record in group} for group in records]
    try:
        comparison = compare_paired(*accuracies)
    except ValueError as error:
        raise RunError(f"{first} and {second}: {error}") from error
    split = splits.pop()
    if split == "test":
        _note(first, second)
        _note(second, first)
    return {
        "first": {"name": first, **asdict(summarize(list(accuracies[0].values())))},
        "second": {"name": second, **asdict(summarize(list(accuracies[1].values())))},
        **asdict(comparison),
        "differs": comparison.differs,
        "split": split,
        "test_labels_used_for_choice": split == "test",
    }


def _records(path: str) -> list[dict[str, Any]]:
    records = read_results(path)
    if not records:
        raise RunError(f"{results_path(path)}: no results; expected those of a study")
    if any("accuracy" not in record for record in records):
        raise RunError(f"{results_path(path)}: a line without accuracy; expected the results of a study")
    return records


def _note(path: str, other: str) -> None:
    summary_path = results_path(path).with_name(SUMMARY_FILE)
    try:
        summary = json.loads(summary_path.read_bytes())
    except (OSError, ValueError):
        return  # a results file on its own
    with_others = sorted({*summary.get("compared_on_test_with", []), str(Path(other).absolute())})
    summary |= {"test_labels_used_for_choice": True, "compared_on_test_with": with_others}
    write_json_atomic(summary_path, summary)
