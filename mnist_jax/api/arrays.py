"""Images and labels that a program holds, checked, and kept in the folder of their run as a data set."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from mnist_jax.data import Splits
from mnist_jax.data.assemble import Part, Role, assemble
from mnist_jax.data.npz import read_npy
from mnist_jax.data.pictures.decode import to_fractions
from mnist_jax.data.pictures.fit import to_uint8
from mnist_jax.errors import DataError
from mnist_jax.storage.json_files import writing

FOLDER = "arrays"
_NAMES = {
    Role("train", "images"): ("x_train", "images"),
    Role("train", "labels"): ("y_train", "labels"),
    Role("test", "images"): ("x_test", "test images"),
    Role("test", "labels"): ("y_test", "test labels"),
}


def read_arrays(images: Any, labels: Any, test: Any = None) -> dict[Role, Part]:
    """Takes arrays for the parts of a data set.

    Args:
        images: ``[N, H, W]`` or ``[N, H, W, 1 or 3]``, uint8, or floating point in [0, 1].
        labels: ``[N]``, whole numbers from 0, or names.
        test: ``(images, labels)`` in the same form, or None to have a test set drawn.

    Raises:
        DataError: one is missing or no array.
    """
    if labels is None:
        raise DataError("labels: are missing; expected one for each image, as in train(images, labels)")
    given = [images, labels]
    if test is not None:
        if not isinstance(test, tuple | list) or len(test) != 2:
            raise DataError(f"test: got {type(test).__name__}; expected (images, labels)")
        given += test
    parts = {
        role: Part(where, _to_array(array, where))
        for (role, (_, where)), array in zip(_NAMES.items(), given, strict=False)
    }
    return _as_bytes(parts)


def check_arrays(parts: dict[Role, Part], image_size: int) -> Splits:
    """Makes the splits that a run will read, to find any fault before a file is written.

    Raises:
        DataError: naming the array, what is wrong with it and what would be right.
    """
    return assemble(parts, "", "arrays", own_name=FOLDER, image_size=image_size)


def longer_side(parts: dict[Role, Part]) -> int:
    """Returns the longer side of the images, in pixels."""
    return max(parts[Role("train", "images")].array.shape[1:3])


def keep_arrays(workdir: str | os.PathLike[str], parts: dict[Role, Part]) -> Path:
    """Writes the arrays below the folder of a run, where every command finds them again.

    Returns:
        the folder for ``data.dir``.

    Raises:
        DataError: other arrays are kept there, those of an earlier run.
        RunError: they cannot be written.
    """
    folder = Path(workdir).absolute() / FOLDER
    arrays = {_NAMES[role][0]: part.array for role, part in parts.items()}
    kept = {path.stem: path for path in folder.glob("*.npy")}
    if kept:
        is_same = kept.keys() == arrays.keys() and all(
            np.array_equal(read_npy(path), arrays[name]) for name, path in kept.items()
        )
        if not is_same:
            raise DataError(f"{folder} holds the arrays of another run; give another workdir")
        return folder
    # Named at the end, so that a folder that is there is complete.
    unfinished = folder.with_name(f".{FOLDER}-{os.getpid()}")
    with writing(folder):
        unfinished.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        unfinished.rename(folder)
    return folder


def _to_array(value: Any, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{where}: {' '.join(str(error).split())}; expected one array") from error
    if array.dtype == object and array.size and all(isinstance(item, str) for item in array.flat):
        array = array.astype(str)
    if array.dtype.kind not in "biufU":
        raise DataError(f"{where}: an array of {array.dtype}; expected numbers, all of one shape")
    return array


def _as_bytes(parts: dict[Role, Part]) -> dict[Role, Part]:
    """Floating-point images as uint8; whole numbers stay as they are, for `assemble` to look at."""
    images = {role: part for role, part in parts.items() if role.part == "images"}
    floating = {role: part for role, part in images.items() if part.array.dtype.kind == "f"}
    if not all(part.array.size for part in images.values()):
        return parts
    highest = max((float(part.array.max()) for part in floating.values()), default=None)
    converted = {}
    for role, part in floating.items():
        try:
            converted[role] = Part(part.where, to_uint8(to_fractions(part.array, highest)))
        except DataError as error:
            raise DataError(f"{part.where}: {part.array.dtype} values, {error}") from error
    return {**parts, **converted}
