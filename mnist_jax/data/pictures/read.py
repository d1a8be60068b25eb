"""Pictures from files, folders, arrays and standard input, in the form a network takes them."""

import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from mnist_jax.data.pictures.mnist_form import MNIST_BOX, fit_to_shape, load_image, luminance, to_mnist
from mnist_jax.errors import DataError

STANDARD_INPUT = "-"

ReadFn = Callable[[int], bytes]

# In a folder only these are taken for pictures; a file that is named itself may have any name.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".npy")

# EMNIST's characters fill 24x24 of 28x28, MNIST's 20x20 (Cohen et al. 2017, arXiv:1702.05373).
_EMNIST_BOX = 24

# More than any picture that is accepted, and than the 70,000 digits of MNIST in float64.
_MAX_BYTES = 2**30


@dataclass(frozen=True)
class Picture:
    """One picture brought to a network's form, or why that could not be done.

    Attributes:
        file: the file as it was given, or its path below the folder that was given; ``-`` for standard input.
        index: place in an array of several pictures; None for a picture on its own.
        image: uint8 ``[height, width, channels]``, or None.
        error: one line; empty where there is an image.
    """

    file: str
    index: int | None = None
    image: UInt8[np.ndarray, "height width channels"] | None = None
    error: str = ""


def read_pictures(
    arguments: Sequence[str],
    image_shape: Sequence[int],
    data_name: str,
    standard_input: ReadFn | None = None,
) -> Iterator[Picture]:
    """Reads everything that was named, in the order given, and brings it to the form of a data set.

    Args:
        arguments: picture files, ``.npy`` files, folders (their pictures by name; nothing deeper), or ``-``.
        image_shape: height, width and channels (1 or 3) that the network takes.
        data_name: the data set it was trained on, see `fit_to_data`.
        standard_input: gives at most so many bytes of what ``-`` stands for; None where that is closed.

    Yields:
        one ``Picture`` for each picture; what cannot be read is one with ``error``, and the others follow.
    """
    for argument in arguments:
        try:
            files = _pictures_in(Path(argument)) if os.path.isdir(argument) else [argument]
        except DataError as error:
            yield Picture(argument, error=str(error))
            continue
        for file in files:
            yield from _read_file(file, tuple(image_shape), data_name, standard_input)


def fit_to_data(
    pixels: Float[np.ndarray, "height width *channels"], image_shape: Sequence[int], data_name: str
) -> UInt8[np.ndarray, "out_height out_width out_channels"]:
    """Brings a picture to the form of the data that a network was trained on.

    Characters of MNIST, its embedded digits and EMNIST get the form of those sets (see `images.to_mnist`);
    pictures for any other data are resized to its shape.

    Args:
        pixels: in [0, 1], ``[H, W]``, ``[H, W, 1]`` or ``[H, W, 3]``.
        image_shape: height, width and channels (1 or 3) that the network takes.
        data_name: such as ``mnist`` or ``emnist/letters``.

    Raises:
        DataError: for a picture of a character in which there is no ink to be seen.
    """
    height, width, channels = image_shape
    is_emnist = data_name.startswith("emnist/")
    if channels != 1 or not (is_emnist or data_name in ("mnist", "mnist_5k")):
        return fit_to_shape(pixels, (height, width, channels))
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else luminance(pixels)
    return to_mnist(pixels, (height, width), _EMNIST_BOX if is_emnist else MNIST_BOX)


def split_array(
    array: Shaped[np.ndarray, "..."],
) -> tuple[Float[np.ndarray, "pictures height width *channels"], bool]:
    """Takes an array for one picture or several, by its shape, and its numbers for luminance, by their type.

    Args:
        array: ``[H, W]``, ``[H, W, C]``, ``[N, H, W]`` or ``[N, H, W, C]`` with C of 1 or 3; whole numbers
            from 0 to 255, truth values, or floating point from 0 to 1 (or from 0 to 255).

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
    if array.dtype.kind not in "biuf":
        raise DataError(f"an array of type {array.dtype}; expected numbers")
    lowest, highest = float(array.min()), float(array.max())
    is_fraction = array.dtype.kind == "b" or (array.dtype.kind == "f" and highest <= 1)
    # Written so that it also refuses what is not a number.
    if not (lowest >= 0 and highest <= (1 if is_fraction else 255)):
        raise DataError(
            f"numbers from {lowest:g} to {highest:g}; expected 0 to 255, or fractions from 0 to 1"
        )
    fractions = array.astype(np.float32) / np.float32(1 if is_fraction else 255)
    return fractions if is_several else fractions[None], is_several


def _pictures_in(folder: Path) -> list[str]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from error
    pictures = [
        str(entry)
        for entry in entries
        if entry.suffix.lower() in PICTURE_SUFFIXES and not entry.name.startswith(".") and not entry.is_dir()
    ]
    if not pictures:
        raise DataError(f"no pictures in this folder; expected files named {', '.join(PICTURE_SUFFIXES)}")
    return pictures


def _read_file(
    file: str, image_shape: tuple[int, ...], data_name: str, standard_input: ReadFn | None
) -> Iterator[Picture]:
    try:
        source = _open(file, standard_input)
        with source:
            arrays, is_several = _read_pixels(source, image_shape[2])
    except DataError as error:
        yield Picture(file, error=str(error))
        return
    for number, pixels in enumerate(arrays):
        index = number if is_several else None
        try:
            yield Picture(file, index, fit_to_data(pixels, image_shape, data_name))
        except DataError as error:
            yield Picture(file, index, error=str(error))


def _open(file: str, standard_input: ReadFn | None) -> io.BufferedReader | io.BytesIO:
    """Opens a file so that it can be read from any place in it, also where it is a pipe."""
    try:
        if file == STANDARD_INPUT:
            if standard_input is None:
                raise DataError("standard input is closed")
            return _read_whole(standard_input)
        source = open(file, "rb")  # noqa: SIM115 (handed to the caller)
        if stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            return source
        with source:
            return _read_whole(source.read)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot be read ({reason})") from error


def _read_whole(read: ReadFn) -> io.BytesIO:
    content = read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise DataError(f"more than the {_MAX_BYTES:,} bytes accepted from a pipe")
    return io.BytesIO(content)


def _read_pixels(source: io.BufferedReader | io.BytesIO, channels: int) -> tuple[np.ndarray, bool]:
    """Pictures with an axis for them, and whether the file itself has that axis."""
    magic = source.read(6)
    source.seek(0)
    if magic == b"\x93NUMPY":
        return split_array(_load_array(source))
    try:
        return load_image(source, channels)[None], False
    except DataError as error:
        # The name of the file stands in a field of its own.
        name = getattr(source, "name", "the picture")
        raise DataError(str(error).removeprefix(f"{name}: ")) from error


def _load_array(source: io.BufferedReader | io.BytesIO) -> np.ndarray:
    try:
        # Mapped where it is a real file: a header that promises terabytes is then found out for nothing.
        if isinstance(source, io.BytesIO):
            return np.load(source, allow_pickle=False)
        return np.load(source.name, mmap_mode="r", allow_pickle=False)
    except MemoryError as error:
        raise DataError("a .npy file that promises more numbers than memory can hold") from error
    except Exception as error:
        # The header is a Python literal of any content: the reader raises whatever that brings about.
        raise DataError(f"a damaged .npy file ({' '.join(str(error).split())[:200]})") from error
