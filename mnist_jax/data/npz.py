"""NumPy's files, ``.npz`` and ``.npy``, whatever state they are in and whatever people call the arrays."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mnist_jax.data.assemble import ROLES, Part, Role
from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import check_archive, check_holes, open_regular

_EXPECTED = "x_train, y_train, x_test, y_test"
_IMAGES = {"x", "image", "images", "img", "imgs", "data", "pixels", "pictures", "features"}
_LABELS = {"y", "label", "labels", "lbls", "target", "targets", "class", "classes"}
# The longer words first, so that none is left in two.
_SPLITS = {
    "train": ("training", "train"),
    "test": ("testing", "test", "t10k"),
    "validation": ("validation", "valid", "val"),
}
_POSITIONS = ("arr_0", "arr_1", "arr_2", "arr_3")


def read_npz(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads arrays from an ``.npz`` file, never unpickling anything.

    Raises:
        DataError: if the file is damaged, lacks a key, or holds pickled objects.
    """
    return _read(path, keys, ", ".join(keys))


def find_roles(names: Sequence[str]) -> dict[Role, str]:
    """Tells which arrays are the images and labels of train and test, by what people call them.

    Understood are ``x_train``, ``train_images``, ``X``, ``labels``, ``val_images``, ``arr_0`` and the like. A
    validation split is the test set where there is no other.
    """
    if names and set(names) <= set(_POSITIONS):
        return dict(zip(ROLES, sorted(names), strict=False))
    found: dict[Role, str] = {}
    for name in names:
        rest = name.lower()
        split = "train"
        for candidate, spellings in _SPLITS.items():
            word = next((word for word in spellings if word in rest), "")
            if word:
                split, rest = candidate, rest.replace(word, " ")
        words = set(re.split("[^a-z]+", rest))
        part = "labels" if words & _LABELS else "images" if words & _IMAGES else ""
        if part:
            found.setdefault(Role(split, part), name)
    has_test = any(role.split == "test" for role in found)
    for role in ROLES[2:]:
        spare = found.pop(Role("validation", role.part), None)
        if spare is not None and not has_test:
            found[role] = spare
    return found


def read_npz_roles(path: Path) -> dict[Role, Part]:
    """Reads the images and labels of an ``.npz`` file, whatever it calls them; those of test if it has any.

    Raises:
        DataError: as `read_npz`.
    """
    names = find_roles(list(_read(path, None, _EXPECTED)))
    check_roles(names, str(path))
    arrays = _read(path, list(names.values()), _EXPECTED)
    return {role: Part(f"{path}, {name}", arrays[name]) for role, name in names.items()}


def read_npy_roles(folder: Path) -> dict[Role, Part]:
    """Reads the images and labels of a folder with one array a file, ``.npy`` or ``.npz``; empty without.

    Raises:
        DataError: as `read_npz`.
    """
    paths = {path.stem: path for path in sorted([*folder.glob("*.npz"), *folder.glob("*.npy")])}
    names = find_roles(list(paths))
    if Role("train", "images") not in names:
        return {}
    check_roles(names, str(folder))
    return {role: Part(str(paths[name]), read_npy(paths[name])) for role, name in names.items()}


def check_roles(names: Mapping[Role, str], where: str) -> None:
    """Raises DataError unless train has images and labels, and test has both or none."""
    wanted = [role for role in ROLES if role.split == "train" or any(name.split == "test" for name in names)]
    usual = dict(zip(ROLES, _EXPECTED.split(", "), strict=True))
    missing = [usual[role] for role in wanted if role not in names]
    if missing:
        raise DataError(f"{where}: lacks {', '.join(missing)}; expected {_EXPECTED}")


def read_npy(path: Path) -> np.ndarray:
    """Reads the one array of a ``.npy`` or ``.npz`` file, never unpickling anything.

    Raises:
        DataError: if the file is damaged, or holds none, several or pickled objects.
    """
    arrays = _read(path, None, "one array")
    name = next(iter(arrays), "")
    if len(arrays) != 1:
        raise DataError(f"{path}: holds {len(arrays)} arrays; expected one")
    return arrays[name] if path.suffix == ".npy" else _read(path, [name], "one array")[name]


def _read(path: Path, keys: Sequence[str] | None, expected: str) -> dict[str, np.ndarray]:
    """The arrays of these keys; for None, the names alone of an archive, or the array of a ``.npy`` file."""
    try:
        # Opened here, because numpy leaves its own file open when the archive is damaged.
        with open_regular(path) as stream:
            check_holes(stream)
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                if path.suffix == ".npy":
                    return {"": archive}
                raise DataError(f"{path}: holds one array; expected an .npz archive with {expected}")
            if keys is None:
                return dict.fromkeys(archive.files, np.empty(0))
            missing = [key for key in keys if key not in archive]
            if missing:
                raise DataError(f"{path}: lacks {', '.join(missing)}; expected {expected}")
            check_archive(archive.zip, keys)
            arrays = {key: archive[key] for key in keys}
            # Of members that are no arrays NumPy returns the bytes.
            odd = [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]
            if odd:
                raise DataError(f"{path}: {', '.join(odd)} is no array; expected {expected}")
            return arrays
    except DataError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:
        # Encrypted, nested, damaged in any way: zipfile and NumPy raise whatever that brings about.
        reason = " ".join(str(error).split()) or type(error).__name__
    form = "a .npy file" if path.suffix == ".npy" else f"an .npz archive with {expected}"
    raise DataError(f"{path}: cannot be read: {reason}; expected {form}")
