"""The IDX file format, plain or gzipped, read with every check the format allows.

Source: the format's description by Yann LeCun, Corinna Cortes and Christopher Burges, "The MNIST database".
A file is four magic bytes (0, 0, a code for the dtype, the number of dimensions), one big-endian uint32 for
each dimension, and the values, big-endian, in C order.
"""

import io
import math
import zlib

import numpy as np

from mnist_jax.data.files import GZIP_MAGIC, open_gzip
from mnist_jax.errors import DataError

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8
_CHUNK_BYTES = 1 << 24
_AT_ONCE = 32  # what unpacks to so many times its size or less is unpacked in one call, all else in pieces


def parse_idx(blob: bytes, where: str) -> np.ndarray:
    """Parses the bytes of an IDX file; gzip is recognized by content, not by name.

    Memory use is bounded by what the file really holds, whatever its header claims.

    Returns:
        The array, in the machine's byte order, with the dtype and shape that the header gives. Read-only.

    Raises:
        DataError: if the gzip stream is cut short or damaged, the magic is wrong, or the header's counts do
            not match the payload exactly.
    """
    if not blob:
        raise DataError(f"{where}: the file is empty; expected an IDX file")
    unpacked = _unpack_at_once(blob) if blob.startswith(GZIP_MAGIC) else blob
    if unpacked is not None:
        stream = io.BytesIO(unpacked)
        header = _read_header(stream, where)
        return _as_array(header, memoryview(unpacked)[stream.tell() :], where)
    with open_gzip(blob, where, "gzip stream") as packed:
        dtype, shape = header = _read_header(packed, where)
        # One byte more shows bytes that do not belong, and takes gzip to its end, where the CRC is.
        return _as_array(header, _read_at_most(packed, math.prod(shape) * dtype.itemsize + 1), where)


def _unpack_at_once(blob: bytes) -> bytes | None:
    """Unpacks in one call, during which other threads go on.

    Returns:
        what is packed; None where it is damaged, large or of several members: `open_gzip` tells which.
    """
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip's header and CRC with it
    try:
        unpacked = unpacker.decompress(blob, _AT_ONCE * len(blob))
    except zlib.error:
        return None
    return unpacked if unpacker.eof and not unpacker.unused_data else None


def _as_array(
    header: tuple[np.dtype, tuple[int, ...]], payload: bytearray | memoryview, where: str
) -> np.ndarray:
    dtype, shape = header
    expected = math.prod(shape) * dtype.itemsize
    if len(payload) != expected:
        found = f"only {len(payload)}" if len(payload) < expected else "more"
        raise DataError(
            f"{where}: the header promises {' x '.join(map(str, shape))} values, {expected} bytes, "
            f"but {found} follow; expected exactly as many"
        )
    array = np.frombuffer(payload, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


def _read_header(stream: io.BufferedIOBase, where: str) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if (
        len(magic) < 4
        or magic[:2] != b"\0\0"
        or magic[2] not in _DTYPES
        or not 1 <= magic[3] <= _MAX_DIMENSIONS
    ):
        raise DataError(
            f"{where}: wrong IDX magic {magic.hex(' ') or '(nothing)'}{_guess(magic)}; expected 00 00 08 03 "
            "(images) or 00 00 08 01 (labels)"
        )
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{where}: the IDX header is cut short; expected {magic[3]} sizes of 4 bytes")
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    if 0 in shape:
        raise DataError(
            f"{where}: an empty split: the header promises {' x '.join(map(str, shape))} values; expected at "
            "least one"
        )
    return np.dtype(_DTYPES[magic[2]]), shape


def _guess(magic: bytes) -> str:
    if magic.lstrip().startswith(b"<"):
        return " (this looks like a web page, not data)"
    if magic.startswith(b"PK"):
        return " (this looks like a zip archive)"
    if len(magic) == 4 and magic[2:] == b"\0\0" and magic[1] in _DTYPES:
        return " (this looks little-endian)"
    return ""


def _read_at_most(stream: io.BufferedIOBase, num_bytes: int) -> bytearray:
    payload = bytearray()
    while len(payload) < num_bytes:
        chunk = stream.read(min(_CHUNK_BYTES, num_bytes - len(payload)))
        if not chunk:
            break
        payload += chunk
    return payload
