"""The folder of a run's checkpoints: which steps in it are intact, and removing one safely.

A step is removed by one rename, and what that or a killed save leaves behind has a name of its own, so a
process killed anywhere leaves every step either intact or recognizably not a checkpoint. Nothing here needs
Orbax.
"""

import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from mnist_jax.checkpoints.manifest import (
    META_FILE,
    STATE_DIR,
    DamagedError,
    Manifest,
    num_bytes,
    read_manifest,
    verify_files,
)
from mnist_jax.errors import CheckpointError
from mnist_jax.runtime.regular_file import check_unpacked
from mnist_jax.storage.json_files import fsync_directory
from mnist_jax.storage.workdir import CHECKPOINTS_DIR, hint_if_too_deep
from mnist_jax.terminal.format import printable

# What a killed save or a killed removal leaves behind.
_LEFTOVER = re.compile(r"\d+\.(orbax-checkpoint-tmp.*|removed)")


class CheckpointFolder:
    """``path/STEP/`` for each checkpoint; what is damaged is warned about, once each, and skipped."""

    def __init__(self, path: str | os.PathLike[str], best_metric: str, on_warning: Callable[[str], None]):
        """Looks at nothing yet.

        Args:
            path: relative paths are taken from the current folder, now.
            best_metric: name among the metrics in the manifests; of ``loss`` less is better, else more.
            on_warning: receives each warning, one line.
        """
        self.path = Path(os.path.abspath(path))
        self._best_metric = best_metric
        self._on_warning = on_warning
        self._warned: set[str] = set()

    def step_path(self, step: int) -> Path:
        """Where one step is, or would be."""
        return self.path / str(step)

    def latest_first(self) -> list[int]:
        """Every entry with a step's name, intact or not, newest first."""
        try:
            names = os.listdir(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted((int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]*", name)), reverse=True)

    def best_first(self) -> list[int]:
        """Every entry with a step's name: the best metric first, of equal ones the earlier step first.

        The unmeasured ones follow, newest first.

        Raises:
            CheckpointError: one was written by a newer version.
        """
        measured = sorted((-score, step) for step, score in self._scores().items())
        ranked = [step for _, step in measured]
        return ranked + [step for step in self.latest_first() if step not in ranked]

    def best(self, count: int) -> list[int]:
        """Up to ``count`` steps with the best metric, best first; the unmeasured are not among them."""
        return self.best_first()[: min(count, len(self._scores()))]

    def intact(self, steps: list[int]) -> Iterator[tuple[int, Manifest]]:
        """Yields those of ``steps`` that are intact, in the same order, each file verified.

        Raises:
            CheckpointError: one was written by a newer version.
        """
        for step in steps:
            try:
                yield step, self._verified(step)
            except DamagedError as error:
                self.warn(f"checkpoint {step} in {self.path} is damaged and skipped: {error}")

    def is_intact(self, step: int) -> bool:
        """Whether one step is there with every file as its manifest says; no warning where it is not."""
        try:
            self._verified(step)
        except DamagedError:
            return False
        return True

    def require(self, step: int, prefix: str = "") -> Manifest:
        """The manifest of one step, after verifying its files, those below ``prefix`` only.

        Raises:
            CheckpointError: it is not there or damaged (the message names those that are intact), or too new.
        """
        problem = "is not there"
        if os.path.lexists(self.step_path(step)):
            try:
                return self._verified(step, prefix)
            except DamagedError as error:
                problem = f"is damaged: {error}"
        raise CheckpointError(f"checkpoint {step} in {self.path} {problem} ({self.what_is_there()})")

    def what_is_there(self) -> str:
        """Describes the intact steps in words."""
        steps = sorted(step for step, _ in self.intact(self.latest_first()))
        return f"there are: {', '.join(map(str, steps))}" if steps else "there is none"

    def remove(self, step: int) -> None:
        """Removes a step, intact or not; does nothing where there is none.

        Raises:
            OSError: it cannot be renamed or deleted.
        """
        folder = self.step_path(step)
        if os.path.lexists(folder):
            aside = self.path / f"{step}.removed"
            _delete(aside)
            folder.rename(aside)
            fsync_directory(self.path)
            _delete(aside)

    def clear_leftovers(self) -> None:
        """Deletes what killed or failed saves and removals left behind.

        Raises:
            OSError: something cannot be deleted.
        """
        for entry in list(self.path.iterdir()):
            if _LEFTOVER.fullmatch(entry.name):
                _delete(entry)

    def warn(self, message: str) -> None:
        """Emits a warning, the same one only once."""
        if message not in self._warned:
            self._warned.add(message)
            self._on_warning(printable(message))

    def _scores(self) -> dict[int, float]:
        scores = {}
        for step in self.latest_first():
            try:
                score = read_manifest(self.step_path(step)).metrics.get(self._best_metric)
            except DamagedError:
                continue
            if score is not None and not math.isnan(score):
                scores[step] = -score if self._best_metric == "loss" else score
        return scores

    def _verified(self, step: int, prefix: str = "") -> Manifest:
        manifest = read_manifest(self.step_path(step))
        if manifest.step != step:
            raise DamagedError(f"its manifest is that of step {manifest.step}")
        if META_FILE not in manifest.files or not any(name.startswith(STATE_DIR) for name in manifest.files):
            raise DamagedError("its manifest names no state to restore")
        try:
            check_unpacked(num_bytes(manifest.leaves), sum(file["size"] for file in manifest.files.values()))
        except OSError as error:
            raise DamagedError(f"its arrays are larger than they can be: {error.strerror}") from None
        verify_files(self.step_path(step), manifest, prefix)
        return manifest


def find_checkpoints(workdir: str | os.PathLike[str]) -> Path:
    """The checkpoint folder of a run, for those who read it.

    Raises:
        CheckpointError: there is no such run, it has no checkpoints, or the path lies inside its checkpoints.
    """
    path = Path(os.path.abspath(workdir))
    hint = hint_if_too_deep(path)
    if hint:
        raise CheckpointError(hint)
    if not path.is_dir():
        raise CheckpointError(f"workdir {path} {'is not a folder' if path.exists() else 'does not exist'}")
    if not (path / CHECKPOINTS_DIR).is_dir():
        raise CheckpointError(f"workdir {path} has no folder {CHECKPOINTS_DIR!r}: is it the folder of a run?")
    return path / CHECKPOINTS_DIR


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
