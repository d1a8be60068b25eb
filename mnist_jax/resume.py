"""Whether a folder's run may go on under a configuration, and whether it is finished already (floor 5)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mnist_jax.config import as_dict, flatten
from mnist_jax.errors import ConfigError, RunError
from mnist_jax.run_files import CONFIG_FILE, SUMMARY_FILE, read_config

# What may differ between the parts of a run: it changes where and how fast it runs and what it leaves, never
# what it computes.
_FREE_FIELDS = ("report", "steps_per_call", "data.dir", "data.fallback", "model.conv", "eval_batch_size")
_FREE_GROUPS = ("checkpoint.", "distributed.")


def check_folder(
    folder: Path, config: ConfigDict, run_facts: dict[str, Any], total_steps: int
) -> dict[str, Any] | None:
    """Compares a folder with the run that is about to start in it.

    Args:
        folder: the folder of the run.
        config: the checked configuration.
        run_facts: what ``config.json`` will hold under ``run``.
        total_steps: steps of the whole run as configured.

    Returns:
        the summary of a run that is finished, or None where there is something to do.

    Raises:
        ConfigError: the run there was started with other settings or other data; each difference is listed.
        RunError: a file there cannot be read.
    """
    if not (folder / CONFIG_FILE).exists():
        return None
    recorded, recorded_run = read_config(folder)
    problems = _differences(dict(flatten(recorded)), dict(flatten(as_dict(config))))
    for name in ("sha256", "test_sha256"):
        old, new = (run.get("dataset", {}).get(name) for run in (recorded_run, run_facts))
        if old != new:
            problems.append(
                f"data: this run was started on other data ({name} {str(old)[:12]}, now {str(new)[:12]})"
            )
    if problems:
        raise ConfigError(
            [f"{problem}; give another --workdir, or go on as it was started" for problem in problems]
        )
    return _finished_summary(folder, total_steps)


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
