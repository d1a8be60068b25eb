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
    written = {
        config.parent: _last_checkpoint_time(config.parent) for config in Path(runs).glob(f"**/{CONFIG_FILE}")
    }
    newest = max(written, key=lambda workdir: written[workdir], default=None)
    if newest is None or not written[newest]:
        raise RunError(
            f"no run with a checkpoint below {os.path.abspath(runs)}: give --workdir DIR, or train one with "
            "python -m mnist_jax.train --config configs/default.py"
        )
    return newest


def _last_checkpoint_time(workdir: Path) -> float:
    """In seconds since 1970; 0 for a run without an intact checkpoint."""
    folder = CheckpointFolder(workdir / CHECKPOINTS_DIR, "accuracy", on_warning=lambda message: None)
    for step in folder.latest_first():
        if folder.is_intact(step):
            return folder.step_path(step).stat().st_mtime
    return 0.0
