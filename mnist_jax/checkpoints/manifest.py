"""What a checkpoint folder must hold, written last and checked before it is used.

Orbax calls a checkpoint finished once its folder has its final name, and keeps no hash over the arrays.
The manifest adds both: it exists only where every file had reached the disk, and it names each with size and
SHA-256.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

from mnist_jax.errors import CheckpointError
from mnist_jax.storage.json_files import fsync_directory

FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
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
        content = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        body = content["manifest"]
        intact = content["sha256"] == _body_sha256(body)
        format_version = int(body["format_version"])
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(_why_no_manifest(folder)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{MANIFEST_NAME} cannot be read ({type(error).__name__})") from error
    if not intact:
        raise DamagedError(f"{MANIFEST_NAME} does not match its own SHA-256")
    if format_version != FORMAT_VERSION:
        other = "newer" if format_version > FORMAT_VERSION else "older"
        raise CheckpointError(
            f"checkpoint {folder} has format {format_version}, this version of mnist_jax reads format "
            f"{FORMAT_VERSION}: use the {other} version that wrote it, or give another --workdir"
        )
    return Manifest(**body)


def verify_files(folder: Path, manifest: Manifest, prefix: str = "") -> None:
    """Compares the files named by the manifest, those below ``prefix`` only, with what is on the disk.

    Raises:
        DamagedError: a file is missing, has another size or another SHA-256; the first one is named.
    """
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


def _sha256(path: Path, *, sync: bool = False) -> str:
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _body_sha256(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
