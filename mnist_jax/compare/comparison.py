"""Several runs side by side: results, settings that differ, and a test of each two on the same images."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_jax.config.check import as_dict, default_config, flatten, from_dict
from mnist_jax.data import Splits
from mnist_jax.errors import ConfigError, MnistJaxError, RunError
from mnist_jax.metrics.mcnemar import McNemar, holm, mcnemar_exact
from mnist_jax.metrics.predictions import wilson_interval
from mnist_jax.metrics.voting import describe_probabilities
from mnist_jax.report.predictions import Predictions, answer_test_set
from mnist_jax.report.record import RunRecord, read_run
from mnist_jax.run.datasets import load_recorded
from mnist_jax.terminal.format import format_percent


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs."""

    letter: str  # A, B, ...
    name: str  # of its folder, with as many of those above as tell it from the others
    record: RunRecord
    predictions: Predictions | None
    missing: str  # why there are no predictions

    @property
    def test_sha256(self) -> str:
        """Of the test images and labels."""
        return str(self.record.run["dataset"]["test_sha256"])

    @property
    def right(self) -> np.ndarray:
        """Whether each test image was classified correctly."""
        assert self.predictions is not None
        return self.predictions.probabilities.argmax(axis=1) == self.predictions.splits.test.labels

    def figures(self) -> dict[str, Any]:
        """Accuracy, errors, loss and the like: of the end of the run, or of its checkpoint; else empty."""
        summary, num_test = self.record.summary, self.record.run["dataset"]["num_test"]
        if "test_accuracy" in summary:
            found = {name: summary[f"test_{name}"] for name in ("accuracy", "errors", "loss")}
        elif self.predictions is not None:
            labels = self.predictions.splits.test.labels
            found = dict(describe_probabilities(self.predictions.probabilities, labels))
            found.pop("calibration_error")
        else:
            return {}
        low, high = wilson_interval(num_test - found["errors"], num_test)
        names = ("num_params", "final_step", "epochs", "seed", "train_seconds", "images_per_second", "device")
        return {
            **{f"test_{name}": value for name, value in found.items()},
            "num_test": num_test,
            "interval": [low, high],
            **{name: summary[name] for name in names if name in summary},
        }


@dataclass(frozen=True)
class PairTest:
    """McNemar's exact test of two runs."""

    first: ComparedRun
    second: ComparedRun
    test: McNemar
    p_holm: float  # adjusted for the number of pairs


@dataclass(frozen=True)
class Comparison:
    """All that is said of the runs, apart from pictures."""

    runs: tuple[ComparedRun, ...]
    differences: dict[str, list[Any]]  # the fields that differ, with each run's value
    tests: tuple[PairTest, ...]
    notes: tuple[str, ...]  # what could not be compared, a line each

    @property
    def answered(self) -> list[ComparedRun]:
        """The runs with predictions, where all of them are of the same images; else none."""
        answered = [run for run in self.runs if run.predictions is not None]
        return answered if len({run.test_sha256 for run in answered}) == 1 and len(answered) > 1 else []

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return {
            "runs": [
                {
                    "letter": run.letter,
                    "name": run.name,
                    "folder": str(run.record.folder),
                    "kind": run.record.kind,
                    "finished": bool(run.record.summary),
                    "test_sha256": run.test_sha256,
                    **run.figures(),
                }
                for run in self.runs
            ],
            "differences": self.differences,
            "tests": [
                {
                    "first": pair.first.letter,
                    "second": pair.second.letter,
                    "only_first_right": pair.test.only_first,
                    "only_second_right": pair.test.only_second,
                    "p_value": pair.test.p_value,
                    "p_value_holm": pair.p_holm,
                }
                for pair in self.tests
            ],
            "notes": list(self.notes),
        }

    def describe(self) -> list[str]:
        """Returns the lines for a terminal."""
        lines = []
        for run in self.runs:
            found = run.figures()
            result = "no result yet"
            if found:
                accuracy, errors = format_percent(found["test_accuracy"]), found["test_errors"]
                result = f"{accuracy} right, {errors:,} of {found['num_test']:,} wrong"
            lines.append(f"{run.letter}  {run.name}: {result}")
        for pair in self.tests:
            test = pair.test
            adjusted = (
                f", {pair.p_holm:.2g} adjusted for {len(self.tests)} pairs" if len(self.tests) > 1 else ""
            )
            lines.append(
                f"{pair.first.letter} and {pair.second.letter}: {test.only_first} right by "
                f"{pair.first.letter} alone, {test.only_second} by {pair.second.letter} alone; McNemar's "
                f"exact p = {test.p_value:.2g}{adjusted}"
            )
        return [*lines, *self.notes]


def compare_runs(folders: Sequence[str], data_dir: str = "") -> Comparison:
    """Compares runs or ensembles, finished or not.

    What cannot be had of a run (a checkpoint, the data) is noted, and the rest compared all the same.

    Args:
        folders: two or more.
        data_dir: where the data is now; empty = where each run had it.

    Raises:
        ConfigError: a folder is given twice.
        RunError: one is no run or ensemble, or a file in it is damaged.
    """
    paths = [Path(folder).resolve() for folder in folders]
    twice = [folder for folder, path in zip(folders, paths, strict=True) if paths.count(path) > 1]
    if twice:
        raise ConfigError([f"RUN: {twice[0]} is given twice; expected each run once"])
    records = [read_run(path) for path in paths]
    for folder, record in zip(folders, records, strict=True):
        if record.kind not in ("run", "ensemble"):
            hint = (
                "; two studies: python -m mnist_jax.study --compare DIR DIR" if record.kind == "study" else ""
            )
            raise RunError(f"{folder} is of kind {record.kind}; expected runs or ensembles{hint}")
    loaded: dict[str, Splits] = {}
    runs = tuple(
        _read(letter, name, record, loaded, data_dir)
        for letter, name, record in zip(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ", short_names(paths), records, strict=False
        )
    )
    tests, notes = _test_pairs(runs)
    notes += [f"{run.name}: no answers of its own: {run.missing}" for run in runs if run.missing]
    return Comparison(runs, differing_settings(records), tests, tuple(notes))


def short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell all of them apart."""
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _read(letter: str, name: str, record: RunRecord, loaded: dict[str, Splits], data_dir: str) -> ComparedRun:
    data = record.config["data"]
    names = ("name", "dir", "fallback", "image_size")
    key = json.dumps([record.run["dataset"]["test_sha256"], *(data.get(name) for name in names)])
    try:
        if key not in loaded:
            loaded[key] = load_recorded(from_dict(record.config), record.run, data_dir)
        return ComparedRun(letter, name, record, answer_test_set(record, loaded[key]), "")
    except MnistJaxError as error:
        return ComparedRun(letter, name, record, None, str(error))


def _test_pairs(runs: Sequence[ComparedRun]) -> tuple[tuple[PairTest, ...], list[str]]:
    pairs, notes = [], []
    for first, second in itertools.combinations(runs, 2):
        if first.test_sha256 != second.test_sha256:
            notes.append(
                f"{first.letter} and {second.letter} were measured on different test images (sha256 "
                f"{first.test_sha256[:12]} and {second.test_sha256[:12]}): McNemar's test needs the same"
            )
        elif first.predictions is not None and second.predictions is not None:
            pairs.append((first, second, mcnemar_exact(first.right, second.right)))
    adjusted = holm([test.p_value for _, _, test in pairs])
    return tuple(PairTest(*pair, p) for pair, p in zip(pairs, adjusted, strict=True)), notes


def differing_settings(records: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """The fields of the configuration, and facts about data and code, in which runs differ."""
    defaults = dict(flatten(as_dict(default_config())))
    # A field that is newer than a run had its default then.
    every = [defaults | dict(flatten(record.config)) | _facts(record) for record in records]
    names = dict.fromkeys(name for values in every for name in values)
    columns = {name: [values.get(name) for values in every] for name in names}
    return {
        name: values for name, values in columns.items() if any(value != values[0] for value in values[1:])
    }


def _facts(record: RunRecord) -> dict[str, Any]:
    dataset, summary = record.run["dataset"], record.summary
    facts = {
        "kind": record.kind,
        "data set": dataset["name"],
        "training images": dataset["num_train"],
        "SHA-256, training": dataset["sha256"][:12],
        "SHA-256, test": dataset["test_sha256"][:12],
    }
    if summary:
        facts |= {"device": summary["device"], "commit": (summary["git_commit"] or "not known")[:12]}
        facts |= {f"version of {name}": version for name, version in summary["versions"].items()}
    return facts
