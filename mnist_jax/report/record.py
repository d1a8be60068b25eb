"""The files of a run, or of a study, an ensemble or pseudo labels, as a report needs them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_jax.config.check import as_dict, from_dict
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.errors import RunError
from mnist_jax.storage.field_types import missing_summary_field, require_run_facts, wrong_result_field
from mnist_jax.storage.json_files import METRICS_FILE, SUMMARY_FILE, read_config, read_summary
from mnist_jax.storage.metrics_log import read_metrics
from mnist_jax.storage.results import read_results, results_path


@dataclass(frozen=True)
class RunRecord:
    """The files of a run.

    Attributes:
        folder: absolute.
        config: the nested configuration.
        run: what the start of the run found, its data among it.
        summary: empty for a run that has not finished.
        metrics: the lines of ``metrics.jsonl``; empty where there is none.
    """

    folder: Path
    config: dict[str, Any]
    run: dict[str, Any]
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]

    @property
    def kind(self) -> str:
        """``run``, ``study``, ``ensemble`` or ``pseudo_label``."""
        return str(self.run.get("kind", "run"))

    @property
    def is_ink(self) -> bool:
        """Whether its gray pictures are ink on paper, light on black, and not photographs."""
        dataset, (height, width, channels) = self.run["dataset"], self.run["image_shape"]
        recorded = dataset.get("preparation")
        known = Preparation.of_data_set(dataset["name"], (height, width, channels))
        return channels == 1 and (recorded["form"] if recorded else known.form) == "mnist"

    def results(self) -> list[dict[str, Any]]:
        """Reads what each seed of a study or of pseudo labels reached, those that its summary counts.

        Raises:
            RunError: ``results.jsonl`` is damaged, or a line lacks what a page needs.
        """
        lines = read_results(self.folder)
        wrong = next(filter(None, (wrong_result_field(line, self.kind) for line in lines)), "")
        if wrong:
            raise RunError(f"cannot read {results_path(self.folder)}: {wrong} is not what is written there")
        if self.summary:
            lines = [line for line in lines if line["seed"] in self.summary["seeds"]]
        return sorted(lines, key=lambda line: (line.get("fold", 0), line["seed"]))


def read_run(workdir: Path) -> RunRecord:
    """Reads the files of a run, finished or not; of a study or the like those that it has.

    Raises:
        RunError: ``workdir`` is not the folder of a run, or a file is damaged.
    """
    config, run = read_config(workdir)
    require_run_facts(run, "source", "num_test", "sha256", "test_sha256")
    summary = read_summary(workdir)
    missing = _missing_field(summary, run) if summary else ""
    if missing:
        raise RunError(
            f"cannot read {workdir / SUMMARY_FILE}: it does not tell {missing}; delete it to finish the run "
            "again"
        )
    metrics = read_metrics(workdir) if (workdir / METRICS_FILE).exists() else []
    return RunRecord(workdir.absolute(), as_dict(from_dict(config)), run, summary, metrics)


def _missing_field(summary: dict[str, Any], run: dict[str, Any]) -> str:
    kind, count = str(run.get("kind", "run")), len(run["class_names"])
    missing = missing_summary_field(summary, kind)
    if not missing and kind in ("run", "ensemble"):
        shape = [len(row) for row in summary["confusion_matrix"]]
        missing = "" if shape == [count] * count else f"a confusion_matrix of {count} classes"
    return missing
