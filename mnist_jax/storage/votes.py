"""``votes.npz`` of an ensemble: each member's answer to each image, and the probabilities of them all."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from mnist_jax.metrics.voting import MemberProbabilities, soft_vote
from mnist_jax.storage.json_files import replace_file
from mnist_jax.storage.npz_files import load_arrays

VOTES_FILE = "votes.npz"


@dataclass(frozen=True)
class Votes:
    """What the members of an ensemble answered, in the order of its members."""

    chosen: Int[np.ndarray, "members examples"]  # each member's likeliest class
    probabilities: Float[np.ndarray, "examples classes"]  # the soft vote
    sha256: str  # of the images and labels


def write_votes(folder: Path, probabilities: MemberProbabilities, sha256: str) -> None:
    """Writes the votes of a finished ensemble; ``sha256`` is that of the images and labels.

    Raises:
        RunError: the disk refuses; the file is as it was.
    """
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        chosen=probabilities.argmax(axis=2).astype(np.uint16),
        probabilities=soft_vote(probabilities).astype(np.float32),
        sha256=np.array(sha256),
    )
    replace_file(folder.absolute() / VOTES_FILE, buffer.getvalue())


def read_votes(folder: Path) -> Votes | None:
    """Reads the votes of an ensemble; None where there are none that can be read."""
    try:
        arrays = load_arrays(folder / VOTES_FILE, ("chosen", "probabilities", "sha256"))
        return Votes(arrays["chosen"].astype(np.int64), arrays["probabilities"], str(arrays["sha256"]))
    except (OSError, ValueError):
        return None
