"""Source 1: a folder of IDX files, CIFAR's or SVHN's, NumPy arrays, tables, parquet files or pictures."""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mnist_jax.data.assemble import ROLES, Part, Role, assemble
from mnist_jax.data.cifar import CIFAR, find_cifar, read_cifar
from mnist_jax.data.dataset import Splits, check_labels
from mnist_jax.data.files import list_folder, read_bytes, readable
from mnist_jax.data.groups import check_groups
from mnist_jax.data.idx import parse_idx
from mnist_jax.data.image_folder import find_splits, has_classes, load_image_folder
from mnist_jax.data.known import FAMILY, FINGERPRINTS, QMNIST
from mnist_jax.data.npz import read_npy_roles, read_npz_roles
from mnist_jax.data.parquet import find_parquet, load_parquet
from mnist_jax.data.pictures.table import is_table, read_table
from mnist_jax.data.svhn import SVHN, find_svhn, read_svhn
from mnist_jax.errors import DataError

VARIABLE = "MNIST_JAX_DATA_DIR"
_LAYOUTS = (
    "train-images-idx3-ubyte[.gz] and the three others, CIFAR's or SVHN's files, mnist.npz, train.csv with "
    "a row a picture, parquet files, or a folder of pictures a class, perhaps below train/ and test/"
)
_A_FOLDER = f"one with {_LAYOUTS}"


def load_folder(name: str, folder: Path, image_size: int = 0, group: str = "") -> Splits:
    """Loads a data set from a folder that a person named.

    Looked for, in this order, in ``folder``, in ``folder/name`` and in an only folder in ``folder``: the four
    IDX files (plain or gzipped; ``train-images-idx3-ubyte``, ``train-images.idx3-ubyte`` or, for EMNIST,
    ``emnist-letters-train-images-…``; perhaps each in a folder of such a name), CIFAR's
    (binary version, archive or folder) or SVHN's files, NumPy arrays (``mnist.npz``, any other ``.npz``,
    ``x_train.npy`` and so on), tables of pixels (``train.csv``), parquet files, an image folder.

    Args:
        name: the data set's name. For one of MNIST's family, files known to be another set's are refused;
            ``emnist/*`` IDX files are turned upright, and letters' labels start at 0 here. ``mnist``, which
            is the name where nobody gave one, is what SHA-256 say that it is, else named for the folder.
        folder: an existing folder.
        image_size: the longer side of the images of a person's own data; 0 to have it chosen.
        group: what tells the groups of pictures and of tables' rows, see `groups.groups_of`; "" for nothing.

    Raises:
        DataError: if the folder or a file in it is missing, damaged or not what it claims to be.
    """
    inside = list_folder(folder, _A_FOLDER)
    for candidate in _candidates(folder, name):
        splits = _load_candidate(candidate, name, _own_name(name, folder), image_size, group)
        if splits:
            return splits
    found = ", ".join(map(readable, inside[:5])) + (", …" if len(inside) > 5 else "") if inside else "nothing"
    raise DataError(f"{readable(folder)}: no data set in it (found {found}); expected {_LAYOUTS}")


def is_in_idx_files(name: str, folder: Path) -> bool:
    """Whether `load_folder` finds the four IDX files right in ``folder``."""
    return name not in (*CIFAR, SVHN) and len(_find_idx(folder, name)) == len(ROLES)


def _candidates(folder: Path, name: str) -> Iterator[Path]:
    """The folder itself, the one in it named for the data set, and, as archives unpack, an only one in it."""
    yield folder
    if (folder / name).is_dir():
        yield folder / name
    for _ in range(2):
        entries = [
            folder / entry for entry in list_folder(folder, _A_FOLDER) if not entry.startswith((".", "__"))
        ]
        if len(entries) != 1 or not entries[0].is_dir():
            return
        folder = entries[0]
        yield folder


def _own_name(name: str, folder: Path) -> str:
    """What a person's own data is called: the default name says nothing of it."""
    return name if name != "mnist" else readable(folder.resolve().name) or "own data"


def _load_candidate(folder: Path, name: str, own_name: str, image_size: int, group: str) -> Splits | None:
    if name not in (*CIFAR, SVHN) and (idx_paths := _find_idx(folder, name)):
        return _load_idx(folder, name, idx_paths, own_name, image_size)
    if name == "mnist" and (qmnist_paths := _find_idx(folder, QMNIST)):
        return _load_idx(folder, QMNIST, qmnist_paths, own_name, image_size)
    if splits := _load_photographs(folder, name, image_size):
        return splits
    if arrays := _find_arrays(folder, name):
        where = f"folder {readable(folder)} (NumPy)"
        return assemble(arrays, _claimed(name), where, own_name=own_name, image_size=image_size)
    if tables := _find_tables(folder):
        return _load_tables(folder, tables, name, own_name, image_size, group)
    if files := find_parquet(folder):
        return load_parquet(own_name, folder, files, image_size, group)
    if "train" in find_splits(folder) or has_classes(folder):
        return load_image_folder(own_name, folder, image_size, group)
    return None


def load_from_variable(name: str, folder: Path, image_size: int = 0, group: str = "") -> Splits | None:
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
        return load_folder(name, nested, image_size, group)
    if name == "mnist":
        try:
            return load_folder(name, folder, image_size, group)
        except DataError as error:
            raise DataError(f"{error} ({VARIABLE} names this folder)") from error
    if name in (*CIFAR, SVHN):
        return _load_photographs(folder, name)
    idx_paths = _find_idx(folder, name)
    images = idx_paths.get(Role("train", "images"))
    if images is None:
        return None
    sha256 = hashlib.sha256(read_bytes(images)).hexdigest()
    if images.name.startswith(("emnist-", "qmnist-")) or FINGERPRINTS.get(sha256, ("",))[0] == name:
        return _load_idx(folder, name, idx_paths, name)
    return None


def idx_parts(blobs: Mapping[Role, tuple[str, bytes]], name: str) -> dict[Role, Part]:
    """Parses the bytes of four IDX files, plain or gzipped, each with its name for messages.

    ``emnist/*`` files hold their images column by column and, for letters, labels from 1: both are mended.
    QMNIST's extended labels have the class in their first column.

    Raises:
        DataError: naming the file, what is wrong with it and what would be right.
    """
    parts = {}
    for role, (where, blob) in blobs.items():
        array = parse_idx(blob, where)
        if name.startswith("emnist/"):
            array = _mend_emnist(array, role, name, where)
        if name == QMNIST and role.part == "labels" and array.ndim == 2:
            array = array[:, 0]
        parts[role] = Part(where, array, (hashlib.sha256(blob).hexdigest(),))
    return parts


def _mend_emnist(array: np.ndarray, role: Role, name: str, where: str) -> np.ndarray:
    if role.part == "images":
        return np.ascontiguousarray(array.transpose(0, 2, 1)) if array.ndim == 3 else array
    if array.dtype != np.uint8 or array.ndim != 1:
        return array
    first, num_classes = FAMILY[name].first_label, len(FAMILY[name].class_names)
    check_labels(array, num_classes, where, first_label=first)
    return array.astype(np.int32) - first


def _spellings(role: Role, name: str) -> list[str]:
    stems = [f"{'train' if role.split == 'train' else 't10k'}-{role.part}"]
    if name.startswith("emnist/"):
        stems.insert(0, f"{name.replace('/', '-')}-{role.split}-{role.part}")
    kind = "idx3-ubyte" if role.part == "images" else "idx1-ubyte"
    if name == QMNIST:
        kind = kind.replace("idx1-ubyte", "idx2-int")
        stems = [f"qmnist-{role.split}-{role.part}"]
    return [f"{stem}{joint}{kind}{end}" for stem in stems for joint in "-." for end in ("", ".gz")]


def _find_idx(folder: Path, name: str) -> dict[Role, Path]:
    found = {}
    for role in ROLES:
        spellings = _spellings(role, name)
        paths = [folder / spelling for spelling in spellings]
        # Kaggle's archive has each file in a folder of nearly the same name.
        inside = [path / spelling for path in paths if path.is_dir() for spelling in spellings]
        files = (path for path in (*paths, *inside) if path.is_file())
        # lexists: a dangling link is a fault to name, not a file that is not there.
        path = next(files, None) or next((path for path in paths if os.path.lexists(path)), None)
        if path:
            found[role] = path
    return found


def _load_idx(
    folder: Path, name: str, paths: Mapping[Role, Path], own_name: str, image_size: int = 0
) -> Splits:
    missing = [_spellings(role, name)[0] for role in ROLES if role not in paths]
    if missing:
        raise DataError(f"{folder}: missing file: {', '.join(missing)} (or .gz); expected all four IDX files")
    blobs = {role: (str(path), read_bytes(path)) for role, path in paths.items()}
    claimed, source = _claimed(name), f"folder {readable(folder)} (IDX)"
    splits = assemble(idx_parts(blobs, claimed), claimed, source, own_name=own_name, image_size=image_size)
    return _with_writers_of_qmnist(splits, blobs) if name == QMNIST else splits


def _with_writers_of_qmnist(splits: Splits, blobs: Mapping[Role, tuple[str, bytes]]) -> Splits:
    """The writer and the series of each training image, from columns 2 and 1 of the extended labels."""
    where, blob = blobs[Role("train", "labels")]
    columns = parse_idx(blob, where)
    if columns.ndim != 2 or columns.shape[1] < 3:
        return splits
    writers, series = (columns[:, column].astype(np.int32) for column in (2, 1))
    return replace(splits, train=replace(splits.train, groups=writers, strata=series))


def _load_photographs(folder: Path, name: str, image_size: int = 0) -> Splits | None:
    """CIFAR's or SVHN's files, which say by their names what they are; a name of one's own is kept."""
    kinds = (*CIFAR, SVHN) if name == "mnist" or name not in FAMILY else (name,)
    found = {kind: path for kind in kinds if (path := _find_kind(folder, kind))}
    if not found:
        return None
    if len(found) > 1:
        raise DataError(
            f"{readable(folder)}: holds {' and '.join(found)}; expected one, or data.name to tell which"
        )
    ((kind, path),) = found.items()
    parts = read_svhn(path) if kind == SVHN else read_cifar(path, kind)
    return assemble(
        parts,
        kind if name == "mnist" else name,
        f"{kind} in {readable(path)}",
        class_names=FAMILY[kind].class_names,
        image_size=image_size,
    )


def _find_kind(folder: Path, kind: str) -> Path | None:
    if kind == SVHN:
        return find_svhn(folder)
    return find_cifar(folder, kind) if kind in CIFAR else None


def _claimed(name: str) -> str:
    # The default of data.name: nobody said that this is MNIST.
    return "" if name == "mnist" else name


def _find_arrays(folder: Path, name: str) -> dict[Role, Part]:
    named = [folder / f"{name.replace('/', '-')}.npz", folder / "mnist.npz"]
    archives = [path for path in named if os.path.lexists(path)] or sorted(folder.glob("*.npz"))
    if len(archives) == 1 or archives[:1] == named[:1]:
        return read_npz_roles(archives[0])
    return read_npy_roles(folder)


def _find_tables(folder: Path) -> dict[str, Path]:
    """The tables of pixels by split, told by their names; an only table is train's."""
    tables = [path for path in sorted(folder.iterdir()) if path.is_file() and is_table(path)]
    found: dict[str, Path] = {}
    for path in tables:
        words = re.split("[^a-z]+", path.name.lower())
        split = "train" if "train" in words or len(tables) == 1 else "test" if "test" in words else ""
        if split and found.setdefault(split, path) != path:
            raise DataError(f"{readable(path)}: a second table for {split}; expected one")
    return found


def _load_tables(
    folder: Path, paths: Mapping[str, Path], name: str, own_name: str, image_size: int, group: str
) -> Splits:
    if "train" not in paths:
        raise DataError(f"{readable(folder)}: no table for train; expected train.csv with a column label")
    parts, remarks, groups = {}, [], []
    for split, path in paths.items():
        table = read_table(path, group, needs_group=bool(group) and split == "train")
        if split == "train" and table.groups is not None:
            groups = table.groups.tolist()
            check_groups(groups, group, readable(path))
        if table.labels is not None:
            parts[Role(split, "images")] = Part(str(path), table.images)
            parts[Role(split, "labels")] = Part(str(path), table.labels)
        elif split == "train":
            raise DataError(f"{readable(path)}: no column of labels; expected one named label")
        else:
            remarks.append(f"{path.name} has no labels and is not used: predict answers it")
    source = f"tables in {readable(folder)}"
    return assemble(
        parts,
        _claimed(name),
        source,
        own_name=own_name,
        image_size=image_size,
        remarks=remarks,
        groups=groups,
    )
