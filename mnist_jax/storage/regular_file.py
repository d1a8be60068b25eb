"""Reading the files of a folder that somebody else may have made: regular files only, of bounded size.

A device such as ``/dev/zero`` never ends and a pipe never answers, whatever name leads to them.
"""

import errno
import gc
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 2**26

_PIECE_BYTES = 2**20


def open_regular(path: str | os.PathLike[str], *, follow_links: bool = True) -> io.BufferedReader:
    """Opens a file for reading, without waiting for anything.

    Args:
        path: the file.
        follow_links: whether ``path`` itself may be a symbolic link.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise OSError(errno.EINVAL, "it is not a regular file")
    return open(descriptor, "rb")


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Returns the content of a file.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than ``max_bytes``.
    """
    with open_regular(path) as file:
        content = read_at_most(file.read, max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than the {max_bytes:,} bytes accepted")
    return content


def read_at_most(read: Callable[[int], bytes], max_bytes: int) -> bytes:
    """Reads to the end, or so many bytes, in pieces: Python sets aside as many bytes as it is asked for."""
    content = bytearray()
    while len(content) < max_bytes:
        piece = read(min(_PIECE_BYTES, max_bytes - len(content)))
        if not piece:
            break
        content += piece
    return bytes(content)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Returns what a JSON file holds.

    Raises:
        OSError: as `read_regular`, for more than ``MAX_JSON_BYTES``.
        ValueError: it is no JSON.
    """
    content = read_regular(Path(path), MAX_JSON_BYTES)
    # What is collected when the stack is all but full has no room to run, and says so on stderr.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    finally:
        if was_enabled:
            gc.enable()
