"""Pictures as the rows of a CSV file, as Kaggle keeps MNIST: perhaps a label, then one number a pixel."""

import contextlib
import gzip
import io
import math
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from mnist_jax.data.files import Unpacking, check_names
from mnist_jax.data.groups import no_column
from mnist_jax.data.pictures.decode import to_fractions
from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import check_holes, open_regular

# Fewer columns than a picture of 4x4 has are some other table.
_FEWEST_COLUMNS = 16
_LABELS = ("label", "labels", "class", "target", "digit", "y")
_NUMBERS = ("", "id", "index", "imageid", "unnamed: 0")


class Table(NamedTuple):
    """The pictures of a table, float32 in [0, 1] ``[N, H, W]``, and their labels ``[N]`` or None."""

    images: np.ndarray
    labels: np.ndarray | None
    groups: np.ndarray | None = None  # texts ``[N]`` of the column asked for, or None where it is not there


def is_table(path: Path) -> bool:
    """Whether a file looks like a table of pictures: by its name, and by its first line.

    Raises:
        DataError: it cannot be read.
    """
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".csv", ".tsv")) and len(_first_line(path)[0]) > _FEWEST_COLUMNS


def read_table(path: Path, group: str = "", *, needs_group: bool = False) -> Table:
    """Reads pictures from a CSV file, gzipped or not, with a heading or without one.

    The label is the column of that name, or the first one where only that leaves a square of pixels. The
    column named ``group`` is not of the picture.

    Raises:
        DataError: it is no such table, a field of it is no number, or ``needs_group`` and there is none.
    """
    names, separator = _first_line(path)
    has_heading = not all(_is_number(name) for name in names)
    heading = names if has_heading else []
    if needs_group and group not in heading:
        # Those of pixels end in a number.
        raise no_column(group, [name for name in heading if not name[-1:].isdigit()], str(path))
    group_column = heading.index(group) if group in heading else None
    label, pixels = _find_columns(heading, len(names), path, group_column)
    options = {
        "delimiter": separator,
        "skiprows": int(has_heading),
        "quotechar": '"',
    }
    with warnings.catch_warnings():
        # Of a table without rows, which is told below.
        warnings.simplefilter("ignore")
        tones, texts = _load(path, pixels, label, options)
        groups = None if group_column is None else _load(path, pixels[:1], group_column, options)[1]
    if not len(tones):
        raise DataError(f"{path}: a heading and no rows; expected one row a picture")
    try:
        images = to_fractions(tones).reshape(len(tones), math.isqrt(len(pixels)), -1)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Table(images, None if texts is None else _labels(texts, path), groups)


def _load(
    path: Path, pixels: list[int], label: int | None, options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with _opened(path) as stream:
            tones = np.loadtxt(stream, np.float32, usecols=pixels, ndmin=2, **options)
        texts = None
        if label is not None:
            with _opened(path) as stream:
                # As objects: in an array of texts each takes as much room as the longest.
                objects = np.loadtxt(stream, object, usecols=label, ndmin=1, **options)
            check_names(objects, str(path))
            texts = objects.astype(str)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{path}: {reason}; expected numbers, one a pixel") from error
    return tones, texts


@contextlib.contextmanager
def _opened(path: Path, errors: str = "strict") -> Iterator[IO[str]]:
    """Opens a table as text; what is made to fill memory ends in an OSError (`runtime.regular_file`)."""
    with open_regular(path) as file:
        check_holes(file)
        if path.suffix != ".gz":
            yield io.TextIOWrapper(file, "utf-8-sig", errors)
            return
        with gzip.GzipFile(fileobj=file) as stream:
            unpacking = io.BufferedReader(Unpacking(stream, os.fstat(file.fileno()).st_size))
            yield io.TextIOWrapper(unpacking, "utf-8-sig", errors)


def _first_line(path: Path) -> tuple[list[str], str]:
    try:
        with _opened(path, "replace") as stream:
            # No more than a picture of 1024x1024 needs.
            line = stream.readline(2**23).strip()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}; expected a readable file") from error
    separator = max(",;\t", key=line.count)
    return [name.strip().strip('"') for name in line.split(separator)], separator


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _find_columns(
    names: list[str], count: int, path: Path, group: int | None = None
) -> tuple[int | None, list[int]]:
    """The column of the label, if there is one, and those of the pixels."""
    lower = [name.lower() for name in names]
    label = next((lower.index(name) for name in _LABELS if name in lower), None)
    pixels = [
        number
        for number in range(count)
        if number not in (label, group) and not (names and lower[number] in _NUMBERS)
    ]
    if label is None and not _is_square(len(pixels)) and _is_square(len(pixels) - 1):
        label, *pixels = pixels
    if not _is_square(len(pixels)):
        raise DataError(
            f"{path}: {len(pixels)} columns of pixels; expected a square number of them, such as 784, and "
            "perhaps a column named label"
        )
    return label, pixels


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number


def _labels(texts: np.ndarray, path: Path) -> np.ndarray:
    """Whole numbers where all labels are, else their names."""
    try:
        numbers = texts.astype(np.float64)
    except ValueError:
        return texts
    # NaN is no class, and beyond int64 a number would become another.
    odd = np.flatnonzero(~(np.abs(numbers) < 2.0**63))
    if len(odd):
        raise DataError(
            f"{path}: label {texts[odd[0]]} in row {odd[0] + 1}; expected whole numbers, or names"
        )
    return numbers.astype(np.int64) if (numbers == np.round(numbers)).all() else texts
