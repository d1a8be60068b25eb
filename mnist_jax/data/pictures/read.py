"""Pictures from files, folders, arrays and standard input, in the form a network takes them."""

import io
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from mnist_jax.data.pictures import worker
from mnist_jax.data.pictures.decode import MAX_PICTURE_BYTES, PICTURE_SUFFIXES, to_fractions
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.steps import AS_GIVEN, Step, note
from mnist_jax.data.pictures.table import is_table, read_table
from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import open_regular, read_at_most, read_named, read_regular

if TYPE_CHECKING:
    from mnist_jax.data.pictures.pages.find import Page

STANDARD_INPUT = "-"

ReadFn = Callable[[int], bytes]

_SUFFIXES = (*PICTURE_SUFFIXES, ".npy")

_NPY_MAGIC = b"\x93NUMPY"

_MAX_NUMBERS = 2**28


@dataclass(frozen=True)
class Picture:
    """One picture brought to a network's form, or why that could not be done."""

    # The file as it was given, or its path below the folder that was given; ``-`` for standard input.
    file: str
    index: int | None = None  # place in an array of several pictures; None for a picture on its own
    image: UInt8[np.ndarray, "height width channels"] | None = None  # None where there is an error
    error: str = ""  # one line; empty where there is an image
    page: "Page | None" = None  # instead of an image, where pages were asked for
    steps: Sequence[Step] = ()  # what each step made of it, where that was asked for; up to an error


def read_pictures(
    arguments: Sequence[str],
    preparation: Preparation | None,
    standard_input: ReadFn | None = None,
    num_with_steps: int = 0,
) -> Iterator[Picture]:
    """Reads everything that was named, in the order given, and prepares it.

    Args:
        arguments: picture files, ``.npy`` files, ``.csv`` files with a picture a row, folders (their pictures
            by name; nothing deeper), or ``-``.
        preparation: that of the data which the network was trained on; None for pages of digits.
        standard_input: gives at most so many bytes of what ``-`` stands for; None where that is closed.
        num_with_steps: the steps of so many pictures are kept, the first ones.

    Yields:
        one ``Picture`` for each picture; what cannot be read is one with ``error``, and the others follow.
    """
    kept: list[list[Step]] = [[] for _ in range(num_with_steps)]
    step_lists = itertools.chain(kept, itertools.repeat(None))
    for argument in arguments:
        try:
            files = _pictures_in(Path(argument)) if os.path.isdir(argument) else [argument]
        except DataError as error:
            yield Picture(argument, error=str(error))
            continue
        # In a folder nobody means a pipe, which would have to be waited for.
        is_listed = files != [argument]
        for file in files:
            yield from _read_file(file, preparation, standard_input, step_lists, is_listed)


def split_array(
    array: Shaped[np.ndarray, "..."],
    highest: float | None = None,
) -> tuple[Float[np.ndarray, "pictures height width *channels"], bool]:
    """Takes an array for one picture or several, by its shape, and its numbers for luminance, by their type.

    Args:
        array: ``[H, W]``, ``[H, W, C]``, ``[N, H, W]`` or ``[N, H, W, C]`` with C of 1 or 3; whole numbers
            from 0 to 255, truth values, or floating point from 0 to 1 (or from 0 to 255).
        highest: what white is; None to tell it by the numbers (`decode.to_fractions`).

    Returns:
        float32 in [0, 1] with an axis for the pictures, and whether the array had that axis itself.

    Raises:
        DataError: for another shape, type or range.
    """
    has_channels = array.ndim >= 3 and array.shape[-1] in (1, 3)
    is_several = array.ndim - has_channels == 3
    if not (is_several or array.ndim - has_channels == 2) or 0 in array.shape:
        raise DataError(
            f"an array of shape {list(array.shape)}; expected [height, width] or [pictures, height, width], "
            "and perhaps 1 or 3 channels after that"
        )
    fractions = to_fractions(array, highest)
    return fractions if is_several else fractions[None], is_several


def _pictures_in(folder: Path) -> list[str]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from error
    pictures = [
        str(entry)
        for entry in entries
        if entry.suffix.lower() in _SUFFIXES and not entry.name.startswith(".") and not entry.is_dir()
    ]
    if not pictures:
        raise DataError(f"no pictures in this folder; expected files named {', '.join(_SUFFIXES)}")
    return pictures


def _read_file(
    file: str,
    preparation: Preparation | None,
    standard_input: ReadFn | None,
    step_lists: Iterator[list[Step] | None],
    must_be_regular: bool,
) -> Iterator[Picture]:
    steps: list[Step] | None = None
    try:
        if file != STANDARD_INPUT and is_table(Path(file)):
            yield from _prepare_arrays(file, read_table(Path(file)).images, True, preparation, step_lists)
            return
        content = None if _is_npy_file(file) else _read_content(file, standard_input, must_be_regular)
        if content is not None and not content.startswith(_NPY_MAGIC):
            steps = next(step_lists)
            if preparation is None:
                page = worker.shared_worker().find_digits(content, steps)
                yield Picture(file, page=page, steps=steps or ())
            else:
                image = worker.shared_worker().prepare(content, preparation, steps)
                yield Picture(file, image=image, steps=steps or ())
            return
        array = _load_array(file if content is None else io.BytesIO(content))
        if array.size > _MAX_NUMBERS:
            raise DataError(f"{array.size:,} numbers, more than the {_MAX_NUMBERS:,} accepted")
        # Where the data is taken as it is, a dark array is dark, not a mask.
        is_resized = preparation is not None and preparation.form == "resized" and not preparation.is_mask
        is_plain = is_resized and array.dtype == np.uint8
        arrays, is_several = split_array(array, 255.0 if is_plain else None)
    except DataError as error:
        # The name of the file stands in a field of its own.
        reason = str(error).removeprefix(f"{file}: ").removeprefix("the picture: ")
        yield Picture(file, error=reason, steps=steps or ())
        return
    except (OSError, MemoryError) as error:
        # Such as a disk that fails in the middle of one file: the others are answered all the same.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        yield Picture(file, error=f"cannot be read ({reason})")
        return
    yield from _prepare_arrays(file, arrays, is_several, preparation, step_lists)


def _prepare_arrays(
    file: str,
    arrays: np.ndarray,
    is_several: bool,
    preparation: Preparation | None,
    step_lists: Iterator[list[Step] | None],
) -> Iterator[Picture]:
    if preparation is None:
        from mnist_jax.data.pictures.pages.find import find_page
    for number, pixels in enumerate(arrays):
        index = number if is_several else None
        steps = next(step_lists)
        try:
            if preparation is None:
                yield Picture(file, index, page=find_page(pixels, steps=steps), steps=steps or ())
            else:
                note(steps, AS_GIVEN, pixels)
                yield Picture(file, index, preparation.apply(pixels, steps), steps=steps or ())
        except (DataError, MemoryError) as error:
            yield Picture(file, index, error=str(error) or type(error).__name__, steps=steps or ())


def _is_npy_file(file: str) -> bool:
    """Whether it is a regular file of NumPy's, which is not read but mapped."""
    try:
        # A pipe is opened once: whoever writes into it would lose the reader.
        if not os.path.isfile(file):
            return False
        with open_regular(file) as source:
            return source.read(len(_NPY_MAGIC)) == _NPY_MAGIC
    except (OSError, ValueError):
        return False


def _read_content(file: str, standard_input: ReadFn | None, must_be_regular: bool) -> bytes:
    """Returns what is in a file, or comes through a pipe."""
    try:
        if file != STANDARD_INPUT:
            return (read_regular if must_be_regular else read_named)(file, MAX_PICTURE_BYTES)
        if standard_input is None:
            raise DataError("standard input is closed")
        content = read_at_most(standard_input, MAX_PICTURE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot be read ({reason})") from error
    if len(content) > MAX_PICTURE_BYTES:
        raise DataError(f"more than the {MAX_PICTURE_BYTES:,} bytes accepted")
    return content


def _load_array(source: str | io.BytesIO) -> np.ndarray:
    try:
        # Mapped where it is a real file: a header that promises terabytes is then found out for nothing.
        return np.load(source, mmap_mode="r" if isinstance(source, str) else None, allow_pickle=False)
    except MemoryError as error:
        raise DataError("a .npy file that promises more numbers than memory can hold") from error
    except Exception as error:
        # The header is a Python literal of any content: the reader raises whatever that brings about.
        raise DataError(f"a damaged .npy file ({' '.join(str(error).split())[:200]})") from error
