"""Source 1: a folder of IDX files, of Keras' ``mnist.npz``, or of pictures."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mnist_jax.data.assemble import ROLES, Part, Role, assemble, idx_sha256
from mnist_jax.data.dataset import Splits, check_labels
from mnist_jax.data.idx import parse_idx, read_bytes
from mnist_jax.data.image_folder import load_image_folder
from mnist_jax.data.known import FAMILY, FINGERPRINTS
from mnist_jax.data.npz import read_npz
from mnist_jax.errors import DataError

VARIABLE = "MNIST_JAX_DATA_DIR"
_LAYOUTS = (
    "train-images-idx3-ubyte[.gz] and the three others, mnist.npz, or train/ and test/ with a folder a class"
)
_NPZ_KEYS = {
    Role("train", "images"): "x_train",
    Role("train", "labels"): "y_train",
    Role("test", "images"): "x_test",
    Role("test", "labels"): "y_test",
}


def load_folder(name: str, folder: Path) -> Splits:
    """Loads a data set from a folder that a person named.

    Looked for, in this order, in ``folder`` and then in ``folder/name``: the four IDX files (plain or
    gzipped; ``train-images-idx3-ubyte``, ``train-images.idx3-ubyte`` or, for EMNIST,
    ``emnist-letters-train-images-…``), ``<name>.npz`` or ``mnist.npz`` with Keras' keys, an image folder.

    Args:
        name: the data set's name. For a name of MNIST's family, files known to be another set's are refused;
            ``emnist/*`` IDX files are turned upright, and letters' labels start at 0 here.
        folder: an existing folder.

    Raises:
        DataError: if the folder or a file in it is missing, damaged or not what it claims to be.
    """
    inside = _listing(folder)
    nested = folder / name
    for candidate in (folder, nested):
        if candidate == nested and not nested.is_dir():
            continue
        if idx_paths := _find_idx(candidate, name):
            return _load_idx(candidate, name, idx_paths)
        if npz_path := _find_npz(candidate, name):
            return _load_npz(npz_path, name)
        if (candidate / "train").is_dir():
            return load_image_folder(name, candidate)
    found = ", ".join(inside[:5]) + (", …" if len(inside) > 5 else "") if inside else "nothing"
    raise DataError(f"{folder}: no data set in it (found {found}); expected {_LAYOUTS}")


def load_from_variable(name: str, folder: Path) -> Splits | None:
    """Loads a data set from the folder that MNIST_JAX_DATA_DIR names, if it is there.

    The variable speaks of MNIST. Another data set is looked for in ``folder/name``; in ``folder`` itself only
    where file names or SHA-256 say that it is that one.

    Returns:
        The splits; None where the folder has nothing for ``name``, which never happens for "mnist".

    Raises:
        DataError: as ``load_folder``.
    """
    nested = folder / name
    if nested.is_dir():
        return load_folder(name, nested)
    if name == "mnist":
        try:
            return load_folder(name, folder)
        except DataError as error:
            raise DataError(f"{error} ({VARIABLE} names this folder)") from error
    idx_paths = _find_idx(folder, name)
    images = idx_paths.get(Role("train", "images"))
    if images is None:
        return None
    if images.name.startswith("emnist-") or _published_name(images) == name:
        return _load_idx(folder, name, idx_paths)
    return None


def idx_splits(blobs: Mapping[Role, tuple[str, bytes]], name: str, source: str) -> Splits:
    """Makes splits of the bytes of four IDX files.

    Args:
        blobs: for each of ``ROLES``, the file's name for messages and its bytes, plain or gzipped.
        name: the data set's name; ``emnist/*`` files hold their images column by column and, for letters,
            labels from 1: both are mended.
        source: where it came from, for people to read.

    Raises:
        DataError: naming the file, what is wrong with it and what would be right.
    """
    parts = {}
    for role, (where, blob) in blobs.items():
        array = parse_idx(blob, where)
        fingerprints = [hashlib.sha256(blob).hexdigest()]
        if array.dtype == np.uint8:
            fingerprints.append(idx_sha256(array))
        if name.startswith("emnist/"):
            array = _mend_emnist(array, role, name, where)
        parts[role] = Part(where, array, tuple(fingerprints))
    return assemble(parts, name, source)


def _mend_emnist(array: np.ndarray, role: Role, name: str, where: str) -> np.ndarray:
    if role.part == "images":
        return np.ascontiguousarray(array.transpose(0, 2, 1)) if array.ndim == 3 else array
    if array.dtype != np.uint8 or array.ndim != 1:
        return array
    first, num_classes = FAMILY[name].first_label, len(FAMILY[name].class_names)
    check_labels(array, num_classes, where, first_label=first)
    return array.astype(np.int32) - first


def _listing(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: the folder does not exist; expected one with {_LAYOUTS}") from error
    except NotADirectoryError as error:
        raise DataError(f"{folder}: is a file; expected the folder that holds it") from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}; expected a readable folder") from error


def _spellings(role: Role, name: str) -> list[str]:
    stems = [f"{'train' if role.split == 'train' else 't10k'}-{role.part}"]
    if name.startswith("emnist/"):
        stems.insert(0, f"{name.replace('/', '-')}-{role.split}-{role.part}")
    kind = "idx3-ubyte" if role.part == "images" else "idx1-ubyte"
    return [f"{stem}{joint}{kind}{end}" for stem in stems for joint in "-." for end in ("", ".gz")]


def _find_idx(folder: Path, name: str) -> dict[Role, Path]:
    found = {}
    for role in ROLES:
        paths = (folder / spelling for spelling in _spellings(role, name))
        # lexists: a dangling link is a fault to name, not a file that is not there.
        path = next((path for path in paths if os.path.lexists(path)), None)
        if path:
            found[role] = path
    return found


def _load_idx(folder: Path, name: str, paths: Mapping[Role, Path]) -> Splits:
    missing = [_spellings(role, name)[0] for role in ROLES if role not in paths]
    if missing:
        raise DataError(f"{folder}: missing file: {', '.join(missing)} (or .gz); expected all four IDX files")
    blobs = {role: (str(path), read_bytes(path)) for role, path in paths.items()}
    return idx_splits(blobs, name, f"folder {folder} (IDX)")


def _published_name(path: Path) -> str:
    """The data set that a file is known to belong to, by its SHA-256; "" if unknown."""
    return FINGERPRINTS.get(hashlib.sha256(read_bytes(path)).hexdigest(), ("",))[0]


def _find_npz(folder: Path, name: str) -> Path | None:
    candidates = (folder / f"{name.replace('/', '-')}.npz", folder / "mnist.npz")
    return next((path for path in candidates if os.path.lexists(path)), None)


def _load_npz(path: Path, name: str) -> Splits:
    arrays = read_npz(path, tuple(_NPZ_KEYS.values()))
    parts = {}
    for role, key in _NPZ_KEYS.items():
        array = arrays[key]
        is_small = (
            array.size and np.issubdtype(array.dtype, np.integer) and 0 <= array.min() <= array.max() < 256
        )
        fingerprints = (idx_sha256(array.astype(np.uint8)),) if is_small else ()
        parts[role] = Part(f"{path}, {key}", array, fingerprints)
    return assemble(parts, name, f"folder {path.parent} ({path.name})")
