"""The folder of a study, an ensemble or pseudo labeling: settings and members."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mnist_jax.checkpoints.manager import Checkpoints
from mnist_jax.config.check import as_dict
from mnist_jax.run.experiment import Experiment
from mnist_jax.run.resume import Settings, refuse_differences
from mnist_jax.run.summary import RunTotals, make_summary
from mnist_jax.runtime.collectives import on_primary
from mnist_jax.runtime.devices import make_layout
from mnist_jax.runtime.distributed import is_multiprocess
from mnist_jax.storage.json_files import (
    CONFIG_FILE,
    SUMMARY_FILE,
    read_config,
    write_config,
    write_json_atomic,
)
from mnist_jax.storage.results import read_results
from mnist_jax.storage.workdir import CHECKPOINTS_DIR, open_workdir
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.evaluation import EvaluationResult
from mnist_jax.training.state import TrainState


@contextlib.contextmanager
def open_for_all(workdir: str) -> Iterator[Path]:
    """Locks a folder as `workdir.open_workdir` does; of several processes the first holds it for all."""
    with contextlib.ExitStack() as held:
        yield Path(on_primary(lambda: str(held.enter_context(open_workdir(workdir)))))


def open_records(
    folder: Path, kind: str, config: ConfigDict, facts: Mapping[str, Any], free: tuple[str, ...] = ()
) -> None:
    """Writes ``config.json``, with ``facts`` below ``run``, or checks that the one there is of the same work.

    Of several processes the first does it.

    Raises:
        ConfigError: as `check_records`.
    """
    on_primary(lambda: _open_records(folder, kind, config, facts, free))


def _open_records(
    folder: Path, kind: str, config: ConfigDict, facts: Mapping[str, Any], free: tuple[str, ...]
) -> None:
    if (folder / CONFIG_FILE).exists():
        check_records(folder, kind, config, facts, free)
    else:
        write_config(folder, as_dict(config), {**facts, "kind": kind})


def check_records(
    folder: Path, kind: str, config: ConfigDict, facts: Mapping[str, Any], free: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Checks that a folder, if anything is in it, holds the same work, and returns the results in it.

    Raises:
        ConfigError: the folder holds something else, or the same with other settings or other data; each
            difference is listed.
    """
    if not (folder / CONFIG_FILE).exists():
        return []
    wanted = Settings(as_dict(config), {**facts, "kind": kind})
    refuse_differences(Settings(*read_config(folder)), wanted, free=("log_every_steps", *free))
    return read_results(folder)


def save_member(
    folder: Path,
    experiment: Experiment,
    state: TrainState,
    facts: Mapping[str, Any],
    totals: RunTotals,
    evaluation: EvaluationResult | None = None,
) -> None:
    """Leaves a member as the folder of a run, for ``evaluate``, ``predict`` and ``load``.

    There is a ``summary.json`` only with an evaluation of the test set. For ``facts`` see `RunData.facts`.
    Several processes do it together, each with the same state.

    Raises:
        CheckpointError: it cannot be saved.
        RunError: a file cannot be written.
    """
    config = as_dict(experiment.config)
    on_primary(lambda: folder.mkdir(parents=True, exist_ok=True))
    on_primary(lambda: write_config(folder, config, facts))
    made = {"state": state, "log": EpochLog.empty(experiment.steps_per_epoch)}
    saved = make_layout().replicate(made) if is_multiprocess() else jax.device_put(made, jax.devices()[0])
    meta = {"epoch": experiment.config.num_epochs, "totals": asdict(totals), "config": config, "run": facts}
    with Checkpoints(folder / CHECKPOINTS_DIR, keep_latest=1, keep_best=0) as checkpoints:
        checkpoints.save(int(state.step), saved, meta)
        checkpoints.wait()
    if evaluation is not None:
        summary = make_summary(experiment, dict(facts["dataset"]), state, evaluation, totals)
        on_primary(lambda: write_json_atomic(folder / SUMMARY_FILE, summary))
