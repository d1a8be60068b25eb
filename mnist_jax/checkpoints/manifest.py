"""What a checkpoint folder must hold, written last and checked before it is used.

Orbax calls a checkpoint finished once its folder has its final name, and keeps no hash over the arrays.
The manifest adds both: it exists only where every file had reached the disk, and it names each with size and
SHA-256. The sums guard against damage, not against forgery: who changes a file can change its sum as well.
"""

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax

from mnist_jax.errors import CheckpointError
from mnist_jax.runtime.regular_file import check_holes, open_regular, read_json
from mnist_jax.storage.json_files import fsync_directory

FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
# Without one of these there is nothing to restore.
STATE_DIR, META_FILE = "state", "meta/metadata"
_MAX_LISTED_DIFFERENCES = 30


class DamagedError(Exception):
    """A folder is not an intact checkpoint; the message says why, without naming the folder."""


@dataclass(frozen=True)
class Manifest:
    """What one checkpoint holds."""

    step: int  # training steps done when it was saved
    metrics: dict[str, float]  # validation metrics of exactly this state; empty where it was not evaluated
    # Path of each array in the state -> dtype and shape, such as ``"float32[512,10]"``.
    leaves: dict[str, str]
    # Path below the folder, with ``/`` -> ``{"size": bytes, "sha256": hexadecimal}``.
    files: dict[str, dict[str, Any]]
    # Layout of the checkpoint, raised when an older reader would misread it.
    format_version: int = FORMAT_VERSION

    @property
    def sha256(self) -> str:
        """Of all it says, so of every file of the checkpoint."""
        return _body_sha256(asdict(self))


def describe_leaves(tree: Any) -> dict[str, str]:
    """Path of each array in a pytree -> its dtype and shape, such as ``"float32[3,3,1,32]"``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(
            path, simple=True, separator="/"
        ): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in leaves
    }


def num_bytes(leaves: Mapping[str, str]) -> int:
    """Returns what the arrays of a manifest take in memory, at four bytes a number."""
    shapes = (re.findall(r"\d+", leaf.partition("[")[2]) for leaf in leaves.values())
    return sum(4 * math.prod(map(int, shape)) for shape in shapes)


def leaf_differences(saved: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """One line for each array that differs, is missing or is unexpected; empty where the two trees fit."""
    lines = []
    for path in sorted(saved.keys() | expected.keys()):
        if path not in expected:
            lines.append(f"{path}: {saved[path]} in the checkpoint, not expected")
        elif path not in saved:
            lines.append(f"{path}: not in the checkpoint, {expected[path]} expected")
        elif saved[path] != expected[path]:
            lines.append(f"{path}: {saved[path]} in the checkpoint, {expected[path]} expected")
    if len(lines) > _MAX_LISTED_DIFFERENCES:
        hidden = len(lines) - _MAX_LISTED_DIFFERENCES
        lines = [*lines[:_MAX_LISTED_DIFFERENCES], f"and {hidden} more"]
    return lines


def write_manifest(folder: Path, step: int, metrics: Mapping[str, float], leaves: Mapping[str, str]) -> None:
    """Brings all files of a finished checkpoint to the disk, then its manifest (`Manifest`), then its name.

    Nothing may be writing to the folder any more, and it has its final name.

    Raises:
        OSError: the disk is full or failing. The folder then has no manifest and is not a checkpoint.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            fsync_directory(path)
        elif path.name != MANIFEST_NAME:
            files[path.relative_to(folder).as_posix()] = {
                "size": path.stat().st_size,
                "sha256": _sha256(path, sync=True),
            }
    manifest = Manifest(step, dict(metrics), dict(leaves), files)
    text = json.dumps({"sha256": manifest.sha256, "manifest": asdict(manifest)}, indent=1)
    partial = folder / f"{MANIFEST_NAME}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    # The folder's other names must be on the disk before the manifest vouches for them.
    fsync_directory(folder)
    fsync_directory(folder.parent)
    partial.rename(folder / MANIFEST_NAME)
    fsync_directory(folder)


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks the manifest itself, not yet the files it names.

    Raises:
        DamagedError: there is no manifest, or it was changed after it was written.
        CheckpointError: it was written by another version of this project.
    """
    try:
        content = read_json(folder / MANIFEST_NAME)
        body = content["manifest"]
        intact = content["sha256"] == _body_sha256(body)
        format_version = int(body["format_version"])
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(_why_no_manifest(folder)) from None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise DamagedError(f"{MANIFEST_NAME} cannot be read ({reason})") from error
    if not intact:
        raise DamagedError(f"{MANIFEST_NAME} does not match its own SHA-256")
    if format_version != FORMAT_VERSION:
        other = "newer" if format_version > FORMAT_VERSION else "older"
        raise CheckpointError(
            f"checkpoint {folder} has format {format_version}, this version of mnist_jax reads format "
            f"{FORMAT_VERSION}: use the {other} version that wrote it, or give another --workdir"
        )
    if not _is_manifest(body):
        raise DamagedError(f"{MANIFEST_NAME} does not hold what a manifest holds")
    return Manifest(**body)


def verify_files(folder: Path, manifest: Manifest, prefix: str = "") -> None:
    """Compares the files named by the manifest with what is in the folder.

    Args:
        folder: the checkpoint.
        manifest: that of the folder.
        prefix: only the files below it are read.

    Raises:
        DamagedError: a file is missing, not named, not a regular one, or has another size or another SHA-256;
            the first one is named.
    """
    found = set(_regular_files(folder))
    for name in manifest.files:
        if name not in found:
            raise DamagedError(f"{name} is missing")
    for name in sorted(found - {MANIFEST_NAME}):
        if name not in manifest.files:
            raise DamagedError(f"{name} is not named by {MANIFEST_NAME}")
    for name, expected in manifest.files.items():
        if not name.startswith(prefix):
            continue
        path = folder / name
        try:
            size = path.stat().st_size
            if size != expected["size"]:
                raise DamagedError(f"{name} has {size:,} bytes instead of {expected['size']:,}")
            if _sha256(path) != expected["sha256"]:
                raise DamagedError(f"{name} does not match its SHA-256")
        except FileNotFoundError:
            raise DamagedError(f"{name} is missing") from None
        except OSError as error:
            raise DamagedError(f"{name} cannot be read ({error.strerror})") from error


def _why_no_manifest(folder: Path) -> str:
    if not folder.is_dir():
        return "it is not a folder"
    if not any(folder.iterdir()):
        return "the folder is empty"
    return f"it has no {MANIFEST_NAME}, so its save was not finished"


def _is_manifest(body: Mapping[str, Any]) -> bool:
    """Whether every part is there and has its type."""
    if body.keys() != {field.name for field in fields(Manifest)} or type(body["step"]) is not int:
        return False
    metrics, leaves, files = body["metrics"], body["leaves"], body["files"]
    if not all(isinstance(part, dict) for part in (metrics, leaves, files)):
        return False
    return (
        all(isinstance(value, float) for value in metrics.values())
        and all(isinstance(value, str) for value in leaves.values())
        and all(_is_entry(entry) for entry in files.values())
    )


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and type(entry.get("size")) is int
        and re.fullmatch("[0-9a-f]{64}", str(entry.get("sha256"))) is not None
    )


def _regular_files(folder: Path, below: str = "") -> Iterator[str]:
    """Names every file below a folder; a link, device or pipe is damage, and nothing is opened.

    Raises:
        DamagedError: there is something that is neither a regular file nor a folder.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = f"{below}{entry.name}"
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    yield from _regular_files(Path(entry.path), f"{name}/")
                elif stat.S_ISREG(mode):
                    yield name
                else:
                    raise DamagedError(f"{name} is not a regular file")
    except OSError as error:
        raise DamagedError(f"{below or 'the folder'} cannot be read ({error.strerror})") from error


def _sha256(path: Path, *, sync: bool = False) -> str:
    with open_regular(path, follow_links=False) as file:
        check_holes(file)
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _body_sha256(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
