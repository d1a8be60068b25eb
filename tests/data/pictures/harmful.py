"""Pictures that ask for far more work or memory than their size tells."""

import io

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
