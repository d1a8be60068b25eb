"""Street View House Numbers, cropped to 32x32, as published: one MATLAB file a split.

Source: http://ufldl.stanford.edu/housenumbers. ``X`` is uint8 ``[32, 32, 3, N]``, ``y`` ``[N, 1]`` with 1 to
10, where 10 stands for the digit 0.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from mnist_jax.data.assemble import Part, Role
from mnist_jax.data.dataset import check_labels
from mnist_jax.data.files import read_bytes, readable
from mnist_jax.errors import DataError

SVHN = "svhn_cropped"
SVHN_FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}

# train_32x32.mat unpacks to 225 MB.
_MAX_UNPACKED_BYTES = 1 << 30

# Types of elements in a MATLAB file.
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX = 14
_COMPRESSED = 15


def find_svhn(folder: Path) -> Path | None:
    """Returns the folder if it has one of the two files; None without."""
    return folder if any((folder / file).is_file() for file in SVHN_FILES.values()) else None


def read_svhn(folder: Path) -> dict[Role, Part]:
    """Reads the two files in a folder; as `parse_svhn`, and raises DataError where one is missing."""
    paths = {split: folder / file for split, file in SVHN_FILES.items()}
    return parse_svhn({split: (readable(path), read_bytes(path)) for split, path in paths.items()})


def parse_svhn(blobs: Mapping[str, tuple[str, bytes]]) -> dict[Role, Part]:
    """Parses the bytes of the two files, of ``train`` and ``test``, each with its name for messages.

    Returns:
        for each of ``ROLES`` images uint8 ``[N, 32, 32, 3]`` or labels uint8 ``[N]``, 0 to 9.

    Raises:
        DataError: naming the file, what is wrong with it and what would be right.
    """
    parts = {}
    for split, (where, blob) in blobs.items():
        images, labels = _load_mat(blob, where)
        check_labels(labels, 10, where, first_label=1)
        parts[Role(split, "images")] = Part(where, np.ascontiguousarray(np.moveaxis(images, -1, 0)))
        parts[Role(split, "labels")] = Part(where, (labels % 10).astype(np.uint8))
    return parts


def _load_mat(blob: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    expected = "expected X, uint8 [32, 32, 3, N], and y, [N, 1], in a MATLAB file of version 5 to 7.2"
    try:
        arrays = read_mat(blob, ("X", "y"))
    except (ValueError, zlib.error) as error:
        raise DataError(f"{where}: cannot be read ({error}); {expected}") from error
    images, labels = arrays.get("X", np.empty(0)), arrays.get("y", np.empty(0))
    # MATLAB saves numbers as floating point unless told otherwise.
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    fits = images.ndim == 4 and images.shape[:3] == (32, 32, 3) and images.dtype == np.uint8
    if (
        not fits
        or labels.shape not in ((images.shape[-1], 1), (1, images.shape[-1]))
        or (whole != labels).any()
    ):
        found = ", ".join(f"{name}: {array.dtype} {list(array.shape)}" for name, array in arrays.items())
        raise DataError(f"{where}: holds {found or 'neither X nor y'}; {expected}")
    return images, whole.ravel()


def read_mat(blob: bytes, names: Collection[str]) -> dict[str, np.ndarray]:
    """Reads arrays of numbers from a MATLAB file of version 5 to 7.2.

    SciPy reads these files, too, but a damaged one ends the process (a segmentation fault in SciPy 1.17).

    Those of the ``names`` that the file does not have are left out.

    Source: MathWorks, MAT-File Format, chapter 1.

    Raises:
        ValueError: for a damaged file.
        zlib.error: likewise.
    """
    order = {b"\0\1IM": "<", b"\1\0MI": ">"}.get(blob[124:128])
    if order is None:
        raise ValueError("no MATLAB file of these versions")
    arrays = {}
    for kind, content in _elements(memoryview(blob)[128:], order):
        if kind == _COMPRESSED:
            ((kind, content),) = _elements(memoryview(_unpack(content)), order)
        parts = [part for _, part in zip(range(4), _elements(content, order), strict=False)]
        if kind != _MATRIX or len(parts) < 4:
            raise ValueError("an element that is no array")
        _, (_, shape), (_, name), (number, values) = parts
        if (text := bytes(name).decode("latin-1")) in names:
            arrays[text] = _to_array(values, number, np.frombuffer(shape, f"{order}i4").tolist(), order)
    return arrays


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yields the type and the bytes of each element."""
    position = 0
    while position < len(content):
        if len(content) < position + 8:
            raise ValueError("cut short")
        kind, size = struct.unpack_from(f"{order}II", content, position)
        start = position + 8
        if kind >> 16:
            # A small element: its size beside its type, its bytes where else the size is.
            kind, size, start = kind & 0xFFFF, min(kind >> 16, 4), position + 4
        if len(content) < start + size:
            raise ValueError("cut short")
        yield kind, content[start : start + size]
        position = start + size
        # All but compressed elements are padded to 8 bytes.
        position += 0 if kind == _COMPRESSED else -position % 8


def _unpack(content: memoryview) -> bytes:
    stream = zlib.decompressobj()
    unpacked = stream.decompress(content, _MAX_UNPACKED_BYTES)
    if not stream.eof:
        is_full = len(unpacked) == _MAX_UNPACKED_BYTES
        raise ValueError(f"more than {_MAX_UNPACKED_BYTES >> 20} MiB" if is_full else "cut short")
    return unpacked


def _to_array(values: memoryview, number: int, shape: list[int], order: str) -> np.ndarray:
    if number not in _NUMBERS:
        raise ValueError("an array of something else than numbers")
    dtype = np.dtype(order + _NUMBERS[number])
    if min(shape, default=-1) < 0 or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"an array of {len(values)} bytes that says to be {shape}")
    return np.frombuffer(values, dtype).reshape(shape, order="F")
