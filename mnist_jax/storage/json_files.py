"""JSON files that are never half written: ``config.json`` and ``summary.json`` of a run.

Everything here is strict JSON: a number that is not finite is written as ``null``, because ``NaN`` and
``Infinity`` are no JSON and break most readers. What each file holds is described in docs/files_of_a_run.md.
"""

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnist_jax.errors import RunError
from mnist_jax.runtime.regular_file import read_json
from mnist_jax.storage.field_types import wrong_run_fact, wrong_summary_field

METRICS_FILE = "metrics.jsonl"
CONFIG_FILE = "config.json"
SUMMARY_FILE = "summary.json"
TENSORBOARD_FOLDER = "tensorboard"


def write_config(workdir: str | os.PathLike[str], config: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Writes ``config.json``: the keys of ``config``, and ``run``, what the start of the run found.

    Raises:
        RunError: the file cannot be written.
        ValueError: ``config`` has a key ``run`` of its own.
    """
    if "run" in config:
        raise ValueError("the config has a key 'run'; expected none, the name is taken in config.json")
    write_json_atomic(Path(workdir) / CONFIG_FILE, {**config, "run": run})


def read_config(workdir: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads ``config.json`` and gives ``(config, run)`` as ``write_config`` took them, tuples as lists.

    Raises:
        RunError: the file is missing or damaged.
    """
    path = Path(workdir) / CONFIG_FILE
    try:
        content = read_json(path)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; expected the folder of a run") from error
    except ValueError as error:
        raise RunError(f"cannot read {path}: {error}; expected the JSON that a run writes") from error
    if not isinstance(content, dict) or not isinstance(content.get("run", {}), dict):
        raise RunError(f"cannot read {path}: expected one JSON object with an object 'run'")
    run = content.pop("run", {})
    wrong = wrong_run_fact(run)
    if wrong:
        raise RunError(f"cannot read {path}: run.{wrong} is not what a run writes there")
    return content, run


def read_summary(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads ``summary.json``, which a run writes at its end.

    Returns:
        what it holds; empty for a run that has not finished.

    Raises:
        RunError: the file is damaged or cannot be read.
    """
    path = Path(workdir) / SUMMARY_FILE
    try:
        summary = read_json(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; expected the folder of a run") from error
    except ValueError as error:
        raise RunError(f"cannot read {path}: {error}; delete it to finish the run again") from error
    if not isinstance(summary, dict):
        raise RunError(f"cannot read {path}: expected one JSON object; delete it to finish the run again")
    wrong = wrong_summary_field(summary)
    if wrong:
        raise RunError(
            f"cannot read {path}: {wrong} is not what a run writes there; delete it to finish the run again"
        )
    return summary


def write_json_atomic(path: str | os.PathLike[str], content: Any) -> None:
    """Writes ``content`` as indented JSON so that ``path`` holds the old file or the new one, never a part.

    Raises:
        RunError: the disk is full or the folder cannot be written; ``path`` is as it was.
        TypeError: a value has no place in JSON.
    """
    replace_file(Path(path).absolute(), as_json_bytes(content))


def as_json_bytes(content: Any) -> bytes:
    """Returns indented JSON as `write_json_atomic` writes it."""
    return (json.dumps(plain_json(content), indent=2, allow_nan=False) + "\n").encode()


def replace_file(path: Path, content: bytes) -> None:
    """Puts ``content`` at ``path`` in one step that outlasts a power cut.

    Raises:
        RunError: the disk is full or the folder cannot be written; ``path`` is as it was.
    """
    # One run per folder, so a fixed name is enough, and what a killed run left under it goes.
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        temporary.unlink(missing_ok=True)
        try:
            # "x": a link that somebody left under this name would lead to another file.
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)


def fsync_directory(path: Path) -> bool:
    """Brings a folder's own entries (names, not contents) to the disk, where its file system offers that.

    CIFS, VirtualBox' shared folders and several FUSE file systems refuse to open or to sync a folder, each
    with an error of its own; what was written there is as safe as it gets.

    Returns:
        whether the file system did so.

    Raises:
        OSError: the disk is full or failing.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ENOENT):
            raise
        return False
    return True


def plain_json(value: Any) -> Any:
    """Converts a value to JSON types: arrays to (nested) lists, numbers that are not finite to ``None``.

    Raises:
        TypeError: a value has no place in JSON.
    """
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, and JAX', without importing either
        return plain_json(value.tolist())
    raise TypeError(
        f"got {value!r} of type {type(value).__name__}; expected a number, a string, a list or a mapping"
    )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tells in one line that a file cannot be written.

    Raises:
        RunError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"cannot write {path}: {reason}; expected a folder that is writable and has room"
        ) from error
