"""Saves checkpoints 1 to 3 and dies by SIGKILL in a chosen phase of the last (run by test_checkpoints)."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import mnist_jax.checkpoints.folder as checkpoint_folder
import mnist_jax.checkpoints.manager as checkpoints
import mnist_jax.checkpoints.manifest as manifest

PHASES = ("copied", "writing", "finalized", "hashed", "named", "renamed_old", "half_deleted_old")


def state_at(step: int) -> dict:
    random = np.random.default_rng(step)
    return {"kernel": jnp.asarray(random.normal(size=(700, 700)), jnp.float32), "step": jnp.int32(step)}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_when_orbax_writes(directory: Path) -> None:
    def watch() -> None:
        while not list(directory.glob("3.orbax-checkpoint-tmp/state*/ocdbt*/d/*")):
            time.sleep(0.0005)
        die()

    threading.Thread(target=watch, daemon=True).start()


def die_in_delete(half: bool) -> None:
    def delete(path: Path) -> None:
        if path.exists():
            if half:
                next(file for file in path.rglob("*") if file.is_file()).unlink()
            die()

    checkpoint_folder._delete = delete


def die_in_rename(after: bool) -> None:
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        if target.name == manifest.MANIFEST_NAME:
            if after:
                rename(path, target)
            die()
        return rename(path, target)

    Path.rename = renamed


def arm(phase: str, directory: Path) -> None:
    if phase == "writing":
        die_when_orbax_writes(directory)
    elif phase == "finalized":
        checkpoints.write_manifest = lambda *arguments: die()
    elif phase in ("hashed", "named"):
        die_in_rename(after=phase == "named")
    elif phase in ("renamed_old", "half_deleted_old"):
        die_in_delete(half=phase == "half_deleted_old")


def main(phase: str, directory: Path) -> None:
    saver = checkpoints.Checkpoints(directory, keep_latest=2, keep_best=0)
    for step in (1, 2):
        saver.save(step, state_at(step), {"epoch": step})
    saver.wait()
    arm(phase, directory)
    saver.save(3, state_at(3), {"epoch": 3})
    if phase == "copied":
        die()
    saver.wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
