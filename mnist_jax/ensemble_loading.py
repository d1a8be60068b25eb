"""A trained ensemble as one model (floor 5)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_jax.config import from_dict
from mnist_jax.errors import RunError
from mnist_jax.run_files import read_config
from mnist_jax.soft_vote import join_variables, make_soft_vote

if TYPE_CHECKING:
    from mnist_jax.loading import LoadedModel

ENSEMBLE_FILE = "ensemble.json"
MEMBERS_DIR = "members"


def is_ensemble(workdir: Path) -> bool:
    """Whether a folder is that of an ensemble."""
    return (workdir / ENSEMBLE_FILE).is_file()


def load_ensemble(workdir: Path, checkpoint: str | int) -> "LoadedModel":
    """Loads all members of a finished ensemble; see ``loading.load``.

    Raises:
        RunError: its list of members cannot be read.
        CheckpointError: a member's checkpoint is missing, damaged, or does not fit.
    """
    from mnist_jax.loading import LoadedModel, load

    path = workdir / ENSEMBLE_FILE
    try:
        names = [member["folder"] for member in json.loads(path.read_bytes())["members"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"cannot read {path}: {error}; start the same ensemble command again") from error
    members = [load(workdir / MEMBERS_DIR / name, checkpoint) for name in names]
    recorded, run = read_config(workdir)
    first = members[0]
    return LoadedModel(
        module=make_soft_vote([member.module for member in members]),
        variables=join_variables([member.variables for member in members]),
        config=from_dict(recorded),
        step=max(member.step for member in members),
        image_shape=first.image_shape,
        class_names=first.class_names,
        run=run,
        layout=first.layout,
    )
