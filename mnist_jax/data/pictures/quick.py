"""Which picture files cannot take long, whatever is in them: those are decoded at once."""

from typing import TYPE_CHECKING

from mnist_jax.data.pictures.decode import read_facts
from mnist_jax.errors import DataError

if TYPE_CHECKING:
    from mnist_jax.data.pictures.decode import Source

# A progressive JPEG goes over its pixels once for each ten of its bytes: up to here for about a second.
_QUICK_BYTES_TIMES_PIXELS = 2**32
_QUICK_PIXELS = 2**22
# What of a header is gone over once for each of its parts (EXIF data, comments) takes the square of its size.
QUICK_BYTES = 2**16

# The frame of an AVIF may be larger than its header says, and is decoded all the same.
_LARGER_INSIDE = ("AVIF",)


def is_quick(source: "Source", num_bytes: int) -> bool:
    """Whether decoding a picture file of so many bytes takes a second at most and little memory.

    Of what is not known it is the worst that is assumed. Only the header is read, and that of small files.
    """
    if num_bytes > QUICK_BYTES:
        return False
    try:
        facts = read_facts(source)
    except DataError:
        return True  # it goes no further than its header
    if facts.file_format in _LARGER_INSIDE:
        return False
    pixels = facts.height * facts.width
    return pixels <= _QUICK_PIXELS and pixels * num_bytes <= _QUICK_BYTES_TIMES_PIXELS
