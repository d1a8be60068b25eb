"""Types of what the files of a run hold: real files pass, and what was changed in them is named."""

import copy
import json
from pathlib import Path

import pytest

from mnist_jax.storage.field_types import missing_summary_field, wrong_result_field, wrong_summary_field

ACCURACY = Path(__file__).parents[2] / "benchmarks" / "results" / "accuracy"
FOLDERS = sorted(ACCURACY.iterdir())


def summary_of(name):
    return json.loads((ACCURACY / name / "summary.json").read_text())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_files_of_real_work_pass(folder):
    summary = summary_of(folder.name)
    assert wrong_summary_field(summary) == missing_summary_field(summary, summary["kind"]) == ""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert lines and [wrong_result_field(line) for line in lines] == [""] * len(lines)


@pytest.mark.parametrize(
    ("folder", "path", "value", "told"),
    [
        ("article", ("statistics",), {}, "statistics.accuracy"),
        ("article", ("statistics", "loss", "mean"), "low", "statistics"),
        ("article", ("seeds",), 3, "seeds"),
        ("pseudo_label_random", ("statistics", "gain_over_supervised"), None, "statistics"),
        ("ensemble_small", ("members",), [], "members"),
        ("ensemble_small", ("members", 1, "seed"), [1], "members"),
        ("ensemble_small", ("soft_vote", "calibration_error"), True, "soft_vote"),
        ("ensemble_small", ("accuracy_by_size", 0, "size"), 0, "accuracy_by_size"),
        ("ensemble_small", ("confusion_matrix", 3), "1234567890", "confusion_matrix"),
        ("ensemble_small", ("versions", "jax"), {}, "versions"),
    ],
)
def test_what_was_changed_is_named(folder, path, value, told):
    summary = copy.deepcopy(summary_of(folder))
    place = summary
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert (wrong_summary_field(summary) or missing_summary_field(summary, summary["kind"])) == told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"accuracy": "1"}, "accuracy"),
        ({"num_examples": 0}, "num_examples"),
        ({"train_losses": 3}, "train_losses"),
    ],
)
def test_a_result_of_other_types_is_named(change, told):
    assert wrong_result_field({"seed": 1, **change}) == told
    assert wrong_result_field({"seed": 1}, "study") == "accuracy"
