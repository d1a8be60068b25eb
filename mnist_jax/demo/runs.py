"""Which run to show when none is named."""

import os
from pathlib import Path

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.errors import RunError
from mnist_jax.storage.json_files import CONFIG_FILE
from mnist_jax.storage.workdir import CHECKPOINTS_DIR


def newest_run(runs: str | os.PathLike[str] = "runs") -> Path:
    """The run below ``runs`` whose newest checkpoint was written last.

    Raises:
        RunError: there is no run with a checkpoint.
    """
    newest: tuple[float, Path] | None = None
    for config in Path(runs).glob(f"**/{CONFIG_FILE}"):
        written = _last_checkpoint_time(config.parent)
        if written is not None and (newest is None or written > newest[0]):
            newest = (written, config.parent)
    if newest is None:
        raise RunError(
            f"no run with a checkpoint below {os.path.abspath(runs)}: give --workdir DIR, or train one with "
            "python -m mnist_jax.train --config configs/default.py"
        )
    return newest[1]


def _last_checkpoint_time(workdir: Path) -> float | None:
    folder = CheckpointFolder(workdir / CHECKPOINTS_DIR, "accuracy", on_warning=lambda message: None)
    for step in folder.latest_first():
        if folder.is_intact(step):
            return folder.step_path(step).stat().st_mtime
    return None
