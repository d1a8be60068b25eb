"""A finished run made longer, with a schedule of its own for the epochs that are added.

``run.extensions`` in config.json is its history, one entry each time: ``after_epochs`` and ``after_step``,
where the new schedule begins, and ``before``, the fields that it changed with their values until then.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.checkpoints.manager import BEST_METRIC, read_meta
from mnist_jax.config.check import as_dict, flatten
from mnist_jax.errors import CheckpointError, ConfigError
from mnist_jax.storage.json_files import CONFIG_FILE, read_config
from mnist_jax.storage.workdir import CHECKPOINTS_DIR

# What an extension may set anew: the length and what the learning rate does over it.
FIELDS = (
    "num_epochs",
    "optim.learning_rate",
    "optim.schedule",
    "optim.warmup_fraction",
    "optim.end_learning_rate_fraction",
)


def find_extensions(folder: Path, config: ConfigDict, num_train: int, extend: bool) -> list[dict[str, Any]]:
    """Reads how a run was extended so far, and where asked adds the extension that is about to begin.

    An extension under way goes on when it is asked for once more, and one that is finished stays so.

    Args:
        folder: of the run.
        config: of the run about to go on, ``num_epochs`` those of all of it.
        num_train: training images.
        extend: whether the run may be made longer.

    Returns:
        the entries of ``run.extensions``.

    Raises:
        ConfigError: there is nothing to extend, it has as many epochs already, or early stopping ends it.
        CheckpointError: the run is not finished, or its last checkpoint is not intact.
    """
    checkpoints = CheckpointFolder(folder / CHECKPOINTS_DIR, BEST_METRIC, lambda warning: None)
    latest = next((step for step, _ in checkpoints.intact(checkpoints.latest_first())), None)
    if latest is None:
        if extend:
            raise ConfigError([f"--extend: {folder} has no checkpoint to go on from; expected one of a run"])
        return []
    if (folder / CONFIG_FILE).exists():
        recorded, run = read_config(folder)
    else:
        meta = read_meta(checkpoints, latest)
        recorded, run = meta["config"], meta["run"]
    history: list[dict[str, Any]] = run.get("extensions", [])
    done, wanted = recorded["num_epochs"], config.num_epochs
    if not extend or (history and wanted == done):
        return history
    patience = recorded["early_stopping"]["patience"]
    if patience or config.early_stopping.patience:
        ended = (
            f"ends by early stopping (early_stopping.patience={patience})" if patience else "would end early"
        )
        raise ConfigError(
            [
                f"--extend: {folder} {ended}; expected a run with early_stopping.patience=0. To train on "
                "from its weights, start another run with --init_from"
            ]
        )
    if wanted <= done:
        raise ConfigError([f"--extend: {folder} has {done} epochs already; expected more, got {wanted}"])
    steps_per_epoch = num_train // config.batch_size
    if latest != done * steps_per_epoch:
        raise CheckpointError(
            f"--extend: the last intact checkpoint in {folder} is that of step {latest}; expected "
            f"{done * steps_per_epoch}, the end of its {done} epochs: first finish it, without --extend"
        )
    old, new = dict(flatten(recorded)), dict(flatten(as_dict(config)))
    before = {name: old[name] for name in FIELDS if old[name] != new[name]}
    return [*history, {"after_epochs": done, "after_step": latest, "before": before}]


def first_step(extensions: Sequence[Mapping[str, Any]]) -> int:
    """The step that the schedule in force begins with."""
    return int(extensions[-1]["after_step"]) if extensions else 0


def describe_extensions(extensions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what ``config.json`` keeps of them, under ``run``."""
    return {"extensions": list(extensions)} if extensions else {}


def describe_last(extensions: Sequence[Mapping[str, Any]], config: ConfigDict) -> str:
    """One line on the extension in force."""
    after = extensions[-1]["after_epochs"]
    return (
        f"extended after {after} epochs to {config.num_epochs}: {config.optim.schedule} schedule over the "
        f"{config.num_epochs - after} added, from {config.optim.learning_rate:g}"
    )
