"""Whether a folder's run may go on under a configuration, and whether it is finished already."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.config.check import default_config, flatten
from mnist_jax.errors import ConfigError, RunError
from mnist_jax.storage.json_files import CONFIG_FILE, SUMMARY_FILE, read_config
from mnist_jax.storage.workdir import CHECKPOINTS_DIR

# What may differ between the parts of a run: it changes where and how fast it runs and what it leaves, never
# what it computes.
_FREE_FIELDS = ("report", "steps_per_call", "data.dir", "data.fallback", "model.conv", "eval_batch_size")
_FREE_GROUPS = ("checkpoint.", "distributed.")


@dataclass(frozen=True)
class Settings:
    """What a run was started with, as ``config.json`` and each checkpoint keep it.

    Attributes:
        config: the configuration as nested plain values.
        run: the facts about the data, as ``config.json`` has them under ``run``.
    """

    config: dict[str, Any]
    run: dict[str, Any]


def check_folder(folder: Path, settings: Settings, total_steps: int) -> dict[str, Any] | None:
    """Compares a folder with the run that is about to start in it.

    Args:
        folder: the folder of the run.
        settings: of the run about to start.
        total_steps: steps of the whole run as configured.

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
        _refuse_differences(Settings(*read_config(folder)), settings)
    return _finished_summary(folder, total_steps)


def check_checkpoint(meta: Mapping[str, Any], settings: Settings) -> None:
    """Compares the settings kept in a checkpoint with those of the run about to go on from it.

    Raises:
        ConfigError: they do not go together; each difference is listed.
    """
    _refuse_differences(Settings(meta["config"], meta["run"]), settings)


def _refuse_differences(recorded: Settings, wanted: Settings) -> None:
    # Fields that are newer than the recorded run had their default then.
    defaults = dict(flatten(default_config()))
    problems = _differences(
        _comparable(defaults | dict(flatten(recorded.config))), _comparable(dict(flatten(wanted.config)))
    )
    for name in ("sha256", "test_sha256"):
        old, new = (settings.run.get("dataset", {}).get(name) for settings in (recorded, wanted))
        if old != new:
            problems.append(
                f"data: this run was started on other data ({name} {str(old)[:12]}, now {str(new)[:12]})"
            )
    if problems:
        raise ConfigError(
            [f"{problem}; give another --workdir, or go on as it was started" for problem in problems]
        )


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    # JSON knows no tuples.
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    problems = []
    for name in sorted(recorded.keys() | wanted.keys()):
        old, new = recorded.get(name), wanted.get(name)
        if old == new or name in _FREE_FIELDS or name.startswith(_FREE_GROUPS):
            continue
        if name == "num_epochs" and isinstance(new, int) and isinstance(old, int) and new > old:
            if wanted["optim.schedule"] == "constant":
                continue
            schedule = wanted["optim.schedule"]
            problems.append(
                f"num_epochs: raised from {old} to {new}, but with optim.schedule={schedule} the "
                "learning rates of the steps already done "
                "depend on it, so only a constant schedule can be made longer"
            )
            continue
        problems.append(f"{name}: this run was started with {old!r}, now it is {new!r}")
    return problems


def _finished_summary(folder: Path, total_steps: int) -> dict[str, Any] | None:
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(
            f"cannot read {folder / SUMMARY_FILE}: {error}; delete it to finish the run anew"
        ) from error
    return summary if summary.get("final_step") == total_steps else None
