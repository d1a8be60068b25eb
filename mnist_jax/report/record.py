"""The files of a run, or of a study, an ensemble or pseudo labels, as a report needs them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.storage.json_files import METRICS_FILE, read_config, read_summary
from mnist_jax.storage.metrics_log import read_metrics
from mnist_jax.storage.results import read_results


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
            RunError: ``results.jsonl`` is damaged.
        """
        lines = read_results(self.folder)
        if self.summary:
            lines = [line for line in lines if line["seed"] in self.summary["seeds"]]
        return sorted(lines, key=lambda line: line["seed"])


def read_run(workdir: Path) -> RunRecord:
    """Reads the files of a run, finished or not; of a study or the like those that it has.

    Raises:
        RunError: ``workdir`` is not the folder of a run, or a file is damaged.
    """
    config, run = read_config(workdir)
    metrics = read_metrics(workdir) if (workdir / METRICS_FILE).exists() else []
    return RunRecord(workdir.absolute(), config, run, read_summary(workdir), metrics)
