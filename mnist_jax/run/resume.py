"""Whether a folder's run may go on under a configuration, and whether it is finished already."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.config.check import default_config, flatten
from mnist_jax.errors import CheckpointError, ConfigError
from mnist_jax.run.summary import RunTotals
from mnist_jax.storage.field_types import is_metrics_record, is_number, wrong_run_fact
from mnist_jax.storage.json_files import CONFIG_FILE, SUMMARY_FILE, read_config, read_summary
from mnist_jax.storage.workdir import CHECKPOINTS_DIR

# What may differ between the parts of a run: it changes where and how fast it runs and what it leaves, never
# what it computes.
_FREE_FIELDS = (
    "report",
    "tracking",
    "steps_per_call",
    "gpu_graph",
    "data.dir",
    "data.fallback",
    "model.conv",
    "augment.method",
    "eval_batch_size",
)
_FREE_GROUPS = ("checkpoint.", "distributed.")
# Of a study, an ensemble or pseudo labeling; a single run has neither.
_RUN_FACTS = ("kind", "split")


@dataclass(frozen=True)
class Settings:
    """What a run was started with, as ``config.json`` and each checkpoint keep it."""

    config: dict[str, Any]  # the configuration as nested plain values
    run: dict[str, Any]  # the facts about the data, as ``config.json`` has them under ``run``

    @property
    def extensions(self) -> list[dict[str, Any]]:
        """How the run was made longer, see ``extension``."""
        return self.run.get("extensions", [])

    def until(self, num_extensions: int) -> "Settings":
        """Returns the settings as they were when the run had been extended only so many times."""
        config = copy.deepcopy(self.config)
        for extension in reversed(self.extensions[num_extensions:]):
            for name, value in extension["before"].items():
                group, _, last = name.rpartition(".")
                (config[group] if group else config)[last] = value
        return Settings(config, {**self.run, "extensions": self.extensions[:num_extensions]})


def check_folder(folder: Path, settings: Settings, total_steps: int) -> dict[str, Any] | None:
    """Compares a folder with the run that is about to start in it.

    Returns:
        the summary of a run that is finished, or None where there is something to do.

    Raises:
        ConfigError: the run there was started with other settings or other data; each difference is listed.
        RunError: a file there cannot be read.
    """
    has_checkpoints = bool(CheckpointFolder(folder / CHECKPOINTS_DIR, "", print).latest_first())
    if not has_checkpoints and not (folder / SUMMARY_FILE).exists():
        # Whatever ran here left nothing to go on from, so nothing of it can be spoilt.
        return None
    if (folder / CONFIG_FILE).exists():
        recorded = Settings(*read_config(folder))
        refuse_differences(recorded, settings.until(len(recorded.extensions)), may_extend=True)
    return _finished_summary(folder, total_steps)


def check_checkpoint(meta: Mapping[str, Any], settings: Settings) -> None:
    """Compares the settings kept in a checkpoint with those of the run about to go on from it.

    Raises:
        CheckpointError: the checkpoint does not say what a run keeps in it, or is from before the end of an
            epoch after which the run was extended.
        ConfigError: the settings do not go together; each difference is listed.
    """
    config, run = meta.get("config"), meta.get("run")
    if not isinstance(config, dict) or not isinstance(run, dict) or wrong_run_fact(run):
        raise CheckpointError("the checkpoint does not say how its run was started; give another --workdir")
    recorded = Settings(config, run)
    count = len(recorded.extensions)
    refuse_differences(recorded, settings.until(count), may_extend=True)
    begins = [extension["after_step"] for extension in settings.extensions[count:]]
    if begins and meta["step"] < begins[0]:
        raise CheckpointError(
            f"the run was extended after step {begins[0]}, but its newest intact checkpoint is of step "
            f"{meta['step']}; expected that of step {begins[0]} or later"
        )


def read_totals(meta: Mapping[str, Any]) -> RunTotals:
    """Returns what a run had spent and reached when it saved a checkpoint.

    Raises:
        CheckpointError: the checkpoint does not say so.
    """
    totals = meta.get("totals")
    if not isinstance(totals, dict) or not _are_totals(totals):
        raise CheckpointError("the checkpoint does not say what its run had spent; give another --workdir")
    return RunTotals(**totals)


def _are_totals(values: Mapping[str, Any]) -> bool:
    best, reference = values.get("best"), values.get("reference")
    return (
        values.keys() <= {field.name for field in fields(RunTotals)}
        and all(is_number(value) for name, value in values.items() if name not in ("best", "reference"))
        and (reference is None or is_number(reference))
        and (best is None or (is_metrics_record(best) and is_number(best.get("accuracy"))))
    )


def refuse_differences(
    recorded: Settings, wanted: Settings, *, free: Sequence[str] = (), may_extend: bool = False
) -> None:
    """Compares the settings of earlier work with those it is about to go on under.

    ``free`` fields may differ, beside those that never change what is computed; with ``may_extend`` a
    constant schedule may be given more epochs.

    Raises:
        ConfigError: the configuration, the kind of work or the data differ; each difference is listed.
    """
    # Fields that are newer than the recorded run had their default then.
    defaults = dict(flatten(default_config()))
    old, new = (_comparable(defaults | dict(flatten(settings.config))) for settings in (recorded, wanted))
    problems = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name) or name in (*_FREE_FIELDS, *free) or name.startswith(_FREE_GROUPS):
            continue
        if may_extend and name == "num_epochs" and new[name] > old[name]:
            problems += _extension_problems(old, new)
            continue
        problems.append(f"{name}: this run was started with {old.get(name)!r}, now it is {new.get(name)!r}")
    for name in _RUN_FACTS:
        before, now = recorded.run.get(name), wanted.run.get(name)
        if before != now:
            problems.append(f"{name}: this run was started with {before!r}, now it is {now!r}")
    for name in ("sha256", "test_sha256"):
        before, now = (settings.run.get("dataset", {}).get(name) for settings in (recorded, wanted))
        if before != now:
            problems.append(
                f"data: this run was started on other data ({name} {str(before)[:12]}, now {str(now)[:12]})"
            )
    if problems:
        raise ConfigError(
            [f"{problem}; give another --workdir, or go on as it was started" for problem in problems]
        )


def _extension_problems(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    schedule = new["optim.schedule"]
    if schedule == "constant":
        return []
    return [
        f"num_epochs: raised from {old['num_epochs']} to {new['num_epochs']}, but with "
        f"optim.schedule={schedule} the learning rates of the steps already done depend on it, so only a "
        "constant schedule can be made longer (with --extend the epochs added get a schedule of their own)"
    ]


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    # JSON knows no tuples.
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _finished_summary(folder: Path, total_steps: int) -> dict[str, Any] | None:
    summary = read_summary(folder)
    stopping = summary.get("early_stopping", {})
    reached = stopping.get("trained_steps", summary.get("final_step"))
    return summary if reached == total_steps or stopping.get("stopped_epoch") else None
