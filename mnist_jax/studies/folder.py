"""The folder of a study, an ensemble or pseudo labeling: settings, results, members."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mnist_jax.checkpoints.manager import Checkpoints
from mnist_jax.config.check import as_dict
from mnist_jax.errors import RunError
from mnist_jax.run.experiment import Experiment
from mnist_jax.run.resume import Settings, refuse_differences
from mnist_jax.run.summary import RunTotals, make_summary
from mnist_jax.storage.json_files import (
    CONFIG_FILE,
    SUMMARY_FILE,
    plain_json,
    read_config,
    replace_file,
    write_config,
    write_json_atomic,
)
from mnist_jax.storage.workdir import CHECKPOINTS_DIR
from mnist_jax.training.epoch import EpochLog
from mnist_jax.training.evaluation import EvaluationResult
from mnist_jax.training.state import TrainState

# One line a finished member, never a part of one.
RESULTS_FILE = "results.jsonl"


def open_records(
    folder: Path, kind: str, config: ConfigDict, facts: Mapping[str, Any], free: tuple[str, ...] = ()
) -> None:
    """Writes ``config.json``, with ``facts`` below ``run``, or checks that the one there is of the same work.

    Raises:
        ConfigError: the folder holds something else, or the same with other settings or other data; each
            difference is listed.
    """
    facts = {**facts, "kind": kind}
    if not (folder / CONFIG_FILE).exists():
        write_config(folder, as_dict(config), facts)
        return
    recorded = Settings(*read_config(folder))
    refuse_differences(recorded, Settings(as_dict(config), facts), free=("log_every_steps", *free))


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

    Raises:
        CheckpointError: it cannot be saved.
        RunError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = as_dict(experiment.config)
    write_config(folder, config, facts)
    log = jax.device_put(EpochLog.empty(experiment.steps_per_epoch), jax.devices()[0])
    meta = {"epoch": experiment.config.num_epochs, "totals": asdict(totals), "config": config, "run": facts}
    with Checkpoints(folder / CHECKPOINTS_DIR, keep_latest=1, keep_best=0) as checkpoints:
        checkpoints.save(int(state.step), {"state": state, "log": log}, meta)
        checkpoints.wait()
    if evaluation is not None:
        summary = make_summary(experiment, dict(facts["dataset"]), state, evaluation, totals)
        write_json_atomic(folder / SUMMARY_FILE, summary)


def read_results(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the lines of a results file, or of the one in a folder; none where the file does not exist.

    Raises:
        RunError: it cannot be read, or a line is no JSON object with a ``seed``.
    """
    path = results_path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}; expected a file of results") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record["seed"], int):
                raise ValueError
        except (ValueError, KeyError) as error:
            raise RunError(
                f"{path}, line {number}: expected a JSON object with a seed; got {line[:80]!r}"
            ) from error
        records.append(record)
    return records


def results_path(path: str | os.PathLike[str]) -> Path:
    """The results file that a folder or the path of a file stands for."""
    path = Path(path)
    return path / RESULTS_FILE if path.is_dir() or path.suffix != ".jsonl" else path


def append_results(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Adds lines to the results of a folder: all of them or, where the process is killed, none.

    Members trained together are finished together. Were only some of them kept, the rest would go into
    another group next time, and round differently.

    Raises:
        RunError: the disk is full or the folder cannot be written; the file is as it was.
    """
    path = folder / RESULTS_FILE
    before = path.read_bytes() if path.exists() else b""
    lines = "".join(json.dumps(plain_json(record), allow_nan=False) + "\n" for record in records)
    replace_file(path.absolute(), before + lines.encode())
