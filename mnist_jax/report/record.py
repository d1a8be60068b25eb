"""What a report is made of: the files of a run, and its network's predictions on the test set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from mnist_jax.config.check import from_dict
from mnist_jax.data import Splits
from mnist_jax.run.datasets import load_recorded
from mnist_jax.run.load import LoadedModel, load, recorded_experiment
from mnist_jax.storage.json_files import METRICS_FILE, read_config, read_summary
from mnist_jax.storage.metrics_log import read_metrics


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


@dataclass(frozen=True)
class Predictions:
    """A network's predictions on the complete test set.

    Attributes:
        model: the network.
        splits: the data of the run.
        probabilities: float32 ``[N, classes]``.
    """

    model: LoadedModel
    splits: Splits
    probabilities: np.ndarray


def read_run(workdir: Path) -> RunRecord:
    """Reads the files of a run, finished or not.

    Raises:
        RunError: ``workdir`` is not the folder of a run, or a file is damaged.
    """
    config, run = read_config(workdir)
    metrics = read_metrics(workdir) if (workdir / METRICS_FILE).exists() else []
    return RunRecord(workdir.absolute(), config, run, read_summary(workdir), metrics)


def answer_test_set(
    record: RunRecord,
    splits: Splits | None = None,
    variables: dict[str, PyTree] | None = None,
    model: LoadedModel | None = None,
) -> Predictions:
    """Runs the network over the test set of its run.

    Args:
        record: the run.
        splits: its data, or None to load it.
        variables: ``{"params", "batch_stats"}``, or None to restore the latest checkpoint.
        model: the network with its variables, where it is at hand.

    Raises:
        MnistJaxError: there is no checkpoint to restore, or the data cannot be had or is not that of the run.
    """
    if splits is None:
        splits = load_recorded(from_dict(record.config), record.run)
    if model is None:
        model = load(record.folder, "latest") if variables is None else _as_model(record, variables)
    return Predictions(model, splits, model.predict(splits.test.images))


def _as_model(record: RunRecord, variables: dict[str, PyTree]) -> LoadedModel:
    experiment = recorded_experiment(from_dict(record.config), record.run)
    return LoadedModel(
        module=experiment.model,
        # Off the run's devices: in a run of several processes only this one makes a report.
        variables=jax.device_put(jax.device_get(variables), jax.local_devices()[0]),
        config=experiment.config,
        step=int(record.summary.get("final_step", 0)),
        image_shape=experiment.image_shape,
        class_names=experiment.class_names,
        run=record.run,
        layout=experiment.layout,
    )
