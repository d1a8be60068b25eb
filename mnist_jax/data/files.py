"""Files and folders, read with one clear line where that fails."""

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from mnist_jax.errors import DataError
from mnist_jax.terminal.format import printable

GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(path: Path) -> bytes:
    """Reads a complete file.

    Raises:
        DataError: if it is missing, a folder, not allowed to be read, or the disk fails.
    """
    try:
        return path.read_bytes()
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


@contextlib.contextmanager
def open_gzip(blob: bytes, where: str, what: str) -> Iterator[gzip.GzipFile]:
    """Opens gzipped bytes to read what is in them; ``where`` and ``what`` name them in messages.

    Raises:
        DataError: where reading finds that they are cut short or damaged.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(blob)) as stream:
            yield stream
    except EOFError as error:
        raise DataError(
            f"{where}: the {what} is cut short after {len(blob)} bytes; expected a complete file "
            "(copy or download it again)"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{where}: the {what} is damaged ({error}); expected an intact file (copy or download it again)"
        ) from error


def readable(name: str | os.PathLike[str]) -> str:
    """Returns the name of a file as text that can be printed, whatever bytes it is made of."""
    raw = os.fsencode(name)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        # What is not UTF-8 is most often of Windows' western code page, in which few bytes mean nothing.
        text = raw.decode("cp1252", "backslashreplace")
    return printable(text)
