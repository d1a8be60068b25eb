"""Pictures that ask for far more work or memory than their size tells."""

import io
import struct

from PIL import Image


def many_scans(side: int = 4000, scans: int = 20_000) -> bytes:
    """A progressive JPEG whose last scan comes again and again: minutes of decoding in about a megabyte."""
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    start = content.rindex(b"\xff\xda")
    scan = content[start:-2]
    return content[:start] + scan * scans + content[-2:]


def large(side: int = 6000) -> bytes:
    """A PNG of 36 million pixels in color, a few kilobytes as a file."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def many_comments(num_bytes: int = 2**24) -> bytes:
    """A plain PPM of four pixels whose comments are cut out one by one, each time with all that follows."""
    return b"P3 2 2 255\n" + b"#\n" * (num_bytes // 2)


def much_exif(num_bytes: int = 2**24) -> bytes:
    """A small JPEG whose header has EXIF data in parts of a byte, which are put together one by one."""
    buffer = io.BytesIO()
    Image.new("L", (50, 50)).save(buffer, "JPEG")
    content = buffer.getvalue()
    part = b"\xff\xe1" + struct.pack(">H", 9) + b"Exif\0\0x"
    return content[:2] + part * (num_bytes // len(part)) + content[2:]
