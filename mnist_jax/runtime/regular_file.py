"""Reading the files of a folder that somebody else may have made: regular files only, of bounded size.

A device such as ``/dev/zero`` never ends and a pipe never answers, whatever name leads to them.
"""

import errno
import gc
import io
import json
import os
import re
import select
import stat
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 2**26

_PIECE_BYTES = 2**20

# Of what a run writes, five or six.
_MAX_DEPTH = 100
_TEXT = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)

# What a pipe may keep its reader waiting for each time.
_PIPE_SECONDS = 10.0

# What compresses more than this many times, and is large, holds nothing but the wish to fill memory.
_MOST_TIMES = 100
_LARGE_BYTES = 3 * 2**27


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


def read_named(path: str | os.PathLike[str], max_bytes: int, pipe_seconds: float = _PIPE_SECONDS) -> bytes:
    """Returns the content of a file that a person named: a regular one, or a pipe as ``<(command)`` gives.

    Args:
        path: the file.
        max_bytes: more is refused.
        pipe_seconds: how long a pipe is waited for each time.

    Raises:
        OSError: it cannot be read, is neither, is larger, or nothing comes through the pipe.
    """
    if not stat.S_ISFIFO(os.stat(path).st_mode):
        return read_regular(path, max_bytes)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
        ready = select.poll()
        ready.register(pipe, select.POLLIN)

        def read(size: int) -> bytes:
            if not ready.poll(1000 * pipe_seconds):
                raise OSError(errno.ETIMEDOUT, f"nothing came through this pipe for {pipe_seconds:g} seconds")
            return pipe.read(size) or b""

        return _not_larger(read_at_most(read, max_bytes + 1), max_bytes)


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Returns the content of a file.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than ``max_bytes``.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise _too_large(max_bytes)
        return _not_larger(read_at_most(file.read, max_bytes + 1), max_bytes)


def _not_larger(content: bytes, max_bytes: int) -> bytes:
    if len(content) > max_bytes:
        raise _too_large(max_bytes)
    return content


def _too_large(max_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than the {max_bytes:,} bytes accepted")


def _depth(text: str) -> int:
    """How deeply lists and objects are nested in JSON."""
    marks = re.sub(r"[^\[\]{}]++", "", _TEXT.sub("", text))
    depth = deepest = 0
    for mark in marks:
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
        if deepest > _MAX_DEPTH:
            break
    return deepest


def check_unpacked(num_bytes: int, num_stored: int) -> None:
    """Refuses what is made to fill memory: some bytes that unpack to very many.

    Args:
        num_bytes: what is to be held in memory.
        num_stored: what that is packed into.

    Raises:
        OSError: they are more than 384 MiB and than a hundred times as many.
    """
    if num_bytes > _LARGE_BYTES and num_bytes > _MOST_TIMES * num_stored:
        raise OSError(
            errno.EFBIG, f"its {num_stored:,} bytes unpack to more than {_MOST_TIMES} times as many"
        )


def check_archive(archive: zipfile.ZipFile | None, names: Collection[str]) -> None:
    """Refuses an ``.npz`` file whose arrays of these names are made to fill memory.

    Raises:
        OSError: as `check_unpacked`.
    """
    members = [] if archive is None else archive.infolist()
    wanted = [member for member in members if member.filename.removesuffix(".npy") in names]
    check_unpacked(sum(member.file_size for member in wanted), sum(member.compress_size for member in wanted))


def check_holes(file: io.BufferedReader) -> None:
    """Refuses an opened file of holes, which takes no room on the disk but fills memory.

    Raises:
        OSError: as `check_unpacked`.
    """
    size = os.fstat(file.fileno()).st_size
    if size <= _LARGE_BYTES:
        return
    stored = end = 0
    try:
        while _MOST_TIMES * stored < size:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            stored += end - start
    except OSError as error:
        # ENXIO: there is no more data. A file system that does not tell holes has none.
        if error.errno != errno.ENXIO:
            stored = size
    finally:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
    check_unpacked(size, stored)


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
    return parse_json(read_regular(Path(path), MAX_JSON_BYTES))


def parse_json(content: bytes) -> Any:
    """Returns what JSON in UTF-8 says.

    Raises:
        ValueError: it is none, or nested deeper than what goes through it can follow.
    """
    text = content.decode("utf-8-sig")
    if _depth(text) > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    # What is collected when the stack is all but full has no room to run, and says so on stderr.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    finally:
        if was_enabled:
            gc.enable()
