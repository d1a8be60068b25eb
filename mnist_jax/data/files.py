"""Files and folders, read with one clear line where that fails."""

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import check_holes, check_unpacked, open_regular
from mnist_jax.terminal.format import printable

GZIP_MAGIC = b"\x1f\x8b"

# Of a class or a group.
_LONGEST_NAME = 1000


def read_bytes(path: Path) -> bytes:
    """Reads a complete file.

    Raises:
        DataError: if it is missing, no regular file, not allowed to be read, nothing but holes, or the disk
            fails.
    """
    try:
        with open_regular(path) as file:
            check_holes(file)
            return file.read()
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path}: cannot be read: {reason}; expected a readable file") from error


def list_folder(folder: Path, expected: str) -> list[str]:
    """Returns the sorted names in a folder; ``expected`` says in a message what it should hold.

    Raises:
        DataError: if it is missing, a file, or cannot be read.
    """
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: the folder does not exist; expected {expected}") from error
    except NotADirectoryError as error:
        raise DataError(f"{folder}: is a file; expected the folder that holds it") from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}; expected a readable folder") from error


class Unpacking(io.RawIOBase):
    """An unpacked stream, which ends where what is packed is made to fill memory (`check_unpacked`)."""

    def __init__(self, stream: gzip.GzipFile, num_stored: int):
        """Takes the unpacked stream and how many bytes it is packed into."""
        self._stream = stream
        self._num_stored = num_stored
        self._count = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a part of ``buffer``.

        Raises:
            OSError: too much has been unpacked.
        """
        piece = self._stream.read(len(buffer))
        buffer[: len(piece)] = piece
        self._count += len(piece)
        check_unpacked(self._count, self._num_stored)
        return len(piece)


@contextlib.contextmanager
def open_gzip(blob: bytes, where: str, what: str) -> Iterator[io.BufferedReader]:
    """Opens gzipped bytes to read what is in them; ``where`` and ``what`` name them in messages.

    Raises:
        DataError: where reading finds that they are cut short or damaged.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(blob)) as stream:
            yield io.BufferedReader(Unpacking(stream, len(blob)))
    except EOFError as error:
        raise DataError(
            f"{where}: the {what} is cut short after {len(blob)} bytes; expected a complete file "
            "(copy or download it again)"
        ) from error
    except (OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{where}: the {what} is damaged ({reason}); expected an intact file (copy or download it again)"
        ) from error


def check_names(names: Iterable[str], where: str) -> None:
    """Refuses names of classes or groups that are whole texts.

    Raises:
        DataError: one is longer than 1,000 characters.
    """
    longest = max(map(len, names), default=0)
    if longest > _LONGEST_NAME:
        raise DataError(f"{where}: a name of {longest:,} characters; expected at most {_LONGEST_NAME:,}")


def readable(name: str | os.PathLike[str]) -> str:
    """Returns the name of a file as text that can be printed, whatever bytes it is made of."""
    raw = os.fsencode(name)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        # What is not UTF-8 is most often of Windows' western code page, in which few bytes mean nothing.
        text = raw.decode("cp1252", "backslashreplace")
    return printable(text)
