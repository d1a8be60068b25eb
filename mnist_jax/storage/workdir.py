"""A run's folder: is it usable, is it free, and was it there before."""

import contextlib
import errno
import fcntl
import itertools
import json
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mnist_jax.errors import RunError
from mnist_jax.runtime.environment import running_commit
from mnist_jax.terminal.format import quote_word

CHECKPOINTS_DIR = "checkpoints"
LOCK_NAME = ".lock"

_logger = logging.getLogger(__name__)


def prepare_workdir(path: str | os.PathLike[str]) -> tuple[Path, list[Path]]:
    """Creates a run's folder where needed and checks that it can be written to.

    Args:
        path: the folder; relative paths are taken from the current folder, symbolic links are followed.

    Returns:
        The absolute path, and the folders this call created, innermost first (see ``remove_if_unused``).

    Raises:
        RunError: it is a file, lies inside another run's checkpoints, or cannot be created or written to.
    """
    workdir = Path(os.path.abspath(path))
    hint = hint_if_too_deep(workdir)
    if hint:
        raise RunError(hint)
    if os.path.lexists(workdir) and not workdir.is_dir():
        what = "is a file" if workdir.exists() else "is a symbolic link to nothing"
        raise RunError(f"workdir {workdir} {what}: give a folder, or a path that does not exist yet")
    created: list[Path] = []
    try:
        missing = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            created.insert(0, folder)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        remove_if_unused(created)
        verb = "written to" if workdir.is_dir() else "created"
        raise RunError(f"workdir {workdir} cannot be {verb}: {error.strerror}") from error
    return workdir, created


def remove_if_unused(created: list[Path]) -> None:
    """Removes the folders a failed run, which still holds the lock, made: where that is all they hold."""
    for folder in created:
        with contextlib.suppress(OSError):
            names = {entry.name for entry in folder.iterdir()}
            if names <= {LOCK_NAME, CHECKPOINTS_DIR}:
                if CHECKPOINTS_DIR in names:
                    (folder / CHECKPOINTS_DIR).rmdir()
                (folder / LOCK_NAME).unlink(missing_ok=True)
            folder.rmdir()


@contextlib.contextmanager
def new_workdir(parent: str | os.PathLike[str], name: str) -> Iterator[Path]:
    """Makes a folder for one run alone, and removes it again where the run failed before it wrote.

    Yields:
        ``parent/name``; where that is there already ``parent/name-2``, and so on.

    Raises:
        RunError: the folder cannot be created.
    """
    folder = Path(parent) / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):
            # Of two runs that start in the same second only one succeeds in this.
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                break
            folder = Path(parent) / f"{name}-{number}"
    except OSError as error:
        raise RunError(f"workdir {folder} cannot be created: {error.strerror}; give --workdir") from error
    try:
        yield folder
    except BaseException:
        remove_if_unused([folder])
        raise


def hint_if_too_deep(path: Path) -> str | None:
    """A sentence naming the run where ``path`` is or lies in that run's ``checkpoints``, else None."""
    for folder in (path, *path.parents):
        if folder.name == CHECKPOINTS_DIR and folder.is_dir() and _belongs_to_run(folder):
            return (
                f"{path} lies inside the checkpoints of a run: give the run's own folder, "
                f"--workdir {quote_word(str(folder.parent))}"
            )
    return None


def _belongs_to_run(checkpoints: Path) -> bool:
    if (checkpoints.parent / "config.json").exists():
        return True
    return any(entry.name.isdigit() for entry in checkpoints.iterdir())


class RunLock:
    """One run a folder: an exclusive ``flock`` on ``DIR/.lock``, held from ``acquire`` to ``release``.

    The kernel drops it with the process, however that dies, so a lock file left behind blocks nobody. The
    file holds the process id and host of the holder, for the message only. (The library filelock
    does not say who holds a lock.)
    """

    def __init__(self, workdir: Path):
        self._path = workdir / LOCK_NAME
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Acquires the lock, or reports who holds it.

        Raises:
            RunError: another process is using the folder, or the lock file cannot be written.
        """
        while self._descriptor is None:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            except OSError as error:
                raise RunError(f"lock {self._path} cannot be opened: {error.strerror}") from error
            try:
                self._lock(descriptor)
                if self._is_current(descriptor):
                    self._descriptor = descriptor
            finally:
                if self._descriptor is None:
                    os.close(descriptor)
        self._write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())

    def release(self) -> None:
        """Releases the lock; the empty file stays, for removing it could remove another run's lock."""
        if self._descriptor is not None:
            self._write(b"")
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "RunLock":
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"workdir {self._path.parent} is in use by another run{_holder(descriptor)}: "
                "wait until it ends, or give another --workdir"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise RunError(f"lock {self._path} cannot be taken: {error.strerror}") from error
            _logger.warning("%s: this file system has no locks; do not start a second run here", self._path)

    def _is_current(self, descriptor: int) -> bool:
        # Between open and flock the last holder may have removed its unused folder, lock file included.
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _write(self, content: bytes) -> None:
        # Only the message of a refused run depends on it: a full disk must not stop this one here.
        assert self._descriptor is not None
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, content, 0)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f" (process {holder['pid']} on {holder['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def look_at_workdir(path: str | os.PathLike[str]) -> None:
    """Checks a folder as `open_workdir` does, and leaves everything as it was.

    Raises:
        RunError: see ``prepare_workdir`` and ``RunLock.acquire``.
    """
    workdir, created = prepare_workdir(path)
    try:
        if (workdir / LOCK_NAME).exists():
            with RunLock(workdir):
                pass
    finally:
        remove_if_unused(created)


@contextlib.contextmanager
def open_workdir(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Prepares a run's folder, holds its lock, and removes it again where the run failed before it wrote.

    Yields:
        The absolute path.

    Raises:
        RunError: see ``prepare_workdir`` and ``RunLock.acquire``.
    """
    running_commit()  # asked now, for the summary at the end
    workdir, created = prepare_workdir(path)
    with RunLock(workdir):
        try:
            yield workdir
        except BaseException:
            remove_if_unused(created)
            raise
