"""The trained variables of a checkpoint alone, read without knowing what network or optimizer made it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
import orbax.checkpoint as ocp

from mnist_jax.checkpoints.folder import CheckpointFolder, find_checkpoints
from mnist_jax.checkpoints.manager import BEST_METRIC, read_meta
from mnist_jax.checkpoints.manifest import STATE_DIR, describe_leaves, leaf_differences
from mnist_jax.errors import CheckpointError, RunError
from mnist_jax.storage.json_files import read_config
from mnist_jax.storage.workdir import CHECKPOINTS_DIR


@dataclass(frozen=True)
class TrainedVariables:
    """What a checkpoint evaluates with."""

    path: Path  # of the checkpoint
    step: int
    sha256: str  # of its manifest, which has that of every file
    arrays: dict[str, np.ndarray]  # by name: ``params/conv0/kernel``, ``batch_stats/conv0/bn/mean``
    meta: dict[str, Any]  # what was saved with it: ``config``, ``run`` and others


def read_variables(path: str | os.PathLike[str], on_warning: Callable[[str], None]) -> TrainedVariables:
    """Reads parameters and BatchNorm's statistics: their moving average where the checkpoint keeps one.

    Args:
        path: the folder of a run, of which the checkpoint that was best on validation is read, or the latest
            where none was measured; or one checkpoint, ``RUN/checkpoints/STEP``.
        on_warning: receives a line for each checkpoint that is damaged and passed over.

    Raises:
        CheckpointError: there is no intact checkpoint, or it cannot be read.
    """
    place = Path(os.path.abspath(path))
    if place.name.isdecimal() and not (place / CHECKPOINTS_DIR).is_dir():
        folder = CheckpointFolder(place.parent, BEST_METRIC, on_warning)
        step, manifest = int(place.name), folder.require(int(place.name))
    else:
        folder = CheckpointFolder(find_checkpoints(place), _best_metric(place), on_warning)
        found = next(folder.intact(folder.best_first()), None)
        if found is None:
            raise CheckpointError(f"no usable checkpoint in {folder.path}")
        step, manifest = found
    averaged, plain = ("state/ema/",), ("state/params/", "state/batch_stats/")
    prefixes = averaged if any(name.startswith(averaged) for name in manifest.leaves) else plain
    names = [name for name in manifest.leaves if name.startswith(prefixes)]
    arrays = _read_arrays(folder.step_path(step) / STATE_DIR, {name: manifest.leaves[name] for name in names})
    return TrainedVariables(
        folder.step_path(step),
        step,
        manifest.sha256,
        {name.removeprefix("state/").removeprefix("ema/"): array for name, array in arrays.items()},
        read_meta(folder, step),
    )


def _best_metric(run: Path) -> str:
    """What a run called its best checkpoint by; its accuracy where its ``config.json`` does not tell."""
    try:
        return read_config(run)[0]["early_stopping"]["metric"]
    except (RunError, KeyError, TypeError):
        return BEST_METRIC


def _read_arrays(state: Path, leaves: dict[str, str]) -> dict[str, np.ndarray]:
    """Reads arrays by name; each is described by its dtype and shape."""
    wanted = flax.traverse_util.unflatten_dict(dict.fromkeys(leaves, 0), sep="/")
    as_numpy = flax.traverse_util.unflatten_dict(
        {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in leaves}, sep="/"
    )
    try:
        handler = ocp.PyTreeCheckpointHandler()
        with ocp.Checkpointer(handler) as checkpointer:
            # An array may say of itself that it is larger, and room is made for all of it.
            stored = describe_leaves(handler.metadata(state).tree)
            differences = leaf_differences(leaves, {name: stored.get(name, "nothing") for name in leaves})
            if differences:
                raise ValueError(differences[0])
            restored = checkpointer.restore(
                state,
                args=ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True),
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"checkpoint {state.parent}: {reason}") from error
    return flax.traverse_util.flatten_dict(restored, sep="/")
