"""A picture file's bytes as an array: the usual formats, any mode and bit depth (no JAX)."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from mnist_jax.data.pictures.steps import AS_GIVEN, Step, note
from mnist_jax.errors import DataError

if TYPE_CHECKING:
    from os import PathLike

    from PIL import Image

    Source = str | PathLike[str] | IO[bytes]

# Names that are taken for pictures in a folder; a file that is named itself may have any name.
PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".avif", ".jp2", ".pbm", ".pgm", ".ppm", ".pnm", ".tga"),
)

# What Pillow may take a file for, whatever its name. Not EPS, which starts Ghostscript, nor icons, whose
# pictures are larger than they say, nor the formats that nobody keeps pictures in.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")

MAX_PIXELS = 64_000_000
MAX_SIDE = 2048
# More than any picture of so many pixels takes, and than the 70,000 digits of MNIST in float64.
MAX_PICTURE_BYTES = 2**29

# What white is in pictures that keep 8, 10, 12, 14 or 16 bits in numbers of 16 or more.
_DEPTHS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)

_EXIF_ORIENTATION = 0x0112
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323


class PictureFacts(NamedTuple):
    """What the header of a picture file tells: the size as it is to be shown, in pixels, and its kind."""

    height: int
    width: int
    is_deep: bool  # more than 8 bits a channel
    has_transparency: bool
    file_format: str  # by Pillow's name


def load_image(
    source: "Source",
    channels: int = 1,
    *,
    white: float | None = None,
    stretch: bool = False,
    is_mask: bool = False,
    background: float | None = None,
    max_side: int = MAX_SIDE,
    steps: list[Step] | None = None,
) -> Float[np.ndarray, "height width *channels"]:
    """Reads a picture file: PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF, JPEG 2000, TGA, PPM and its relatives.

    The first frame counts; an EXIF orientation is applied.

    Args:
        source: A path, or a binary file open for reading.
        channels: 1 for luminance (ITU-R 601), 3 for red, green, blue.
        white: What white is in a picture of more than 8 bits; None for the full scale of its type.
        stretch: Whether a picture of more than 8 bits runs from its own darkest to its own lightest tone
            instead, and one of 8 bits that holds nothing but 0 and 1 is a mask.
        is_mask: Whether 1 is white in a gray picture of 8 bits.
        background: Luminance in [0, 1] that transparent pixels are laid on; None for one that the picture
            stands out from.
        max_side: Longer sides are reduced by a whole factor.
        steps: Where to add the picture in color.

    Returns:
        Float32 in [0, 1], ``[height, width]`` for one channel, else ``[height, width, 3]``.

    Raises:
        DataError: When the file is missing, empty, no picture, damaged, or beyond 64 million pixels.
        ValueError: When ``channels`` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels!r}")
    from PIL import ImageOps

    with _opened(source) as picture:
        if max_side < MAX_SIDE:
            # Decodes a JPEG at a half, a quarter or an eighth of its size, still larger than what is asked.
            picture.draft(None, (max_side, max_side))
        upright = ImageOps.exif_transpose(picture)
        upright.load()
        factor = -(-max(upright.size) // max_side)
        if _is_deep(upright):
            gray = _deep_to_gray(upright, factor, white, stretch)
            note(steps, AS_GIVEN, gray)
            return gray if channels == 1 else np.repeat(gray[..., None], 3, axis=2)
        if upright.mode == "L" and (is_mask or (stretch and upright.getextrema() == (0, 1))):
            upright = upright.point(lambda value: 255 if value else 0)
        return _to_array(upright, factor, channels, background, steps)


def read_facts(source: "Source") -> PictureFacts:
    """Reads the header of a picture file.

    Raises:
        DataError: As `load_image`.
    """
    with _opened(source) as picture:
        width, height = picture.size
        # Of a TIFF Pillow gives the size as it is shown.
        if picture.format != "TIFF" and picture.getexif().get(_EXIF_ORIENTATION, 1) >= 5:
            width, height = height, width
        is_deep, transparent = _is_deep(picture), picture.has_transparency_data
        return PictureFacts(height, width, is_deep, transparent, str(picture.format))


def find_white(highest: float) -> float:
    """Returns what white is where ``highest`` is the largest number: that of the least depth that fits."""
    if 0 < highest <= 1:
        return 1.0
    return next((white for white in _DEPTHS if highest <= white), highest)


def to_fractions(array: Shaped[np.ndarray, "..."], highest: float | None = None) -> Float[np.ndarray, "..."]:
    """Takes numbers for luminance by their type and their range, the same for all of an array.

    Args:
        array: truth values; whole numbers from 0 to 255, or nothing but 0 and 1, or ``uint16`` in any of the
            usual depths (`find_white`); floating point from 0 to 1, or from 0 to 255.
        highest: the largest number of all the data that the array is part of; None for that of the array.

    Returns:
        float32 in [0, 1].

    Raises:
        DataError: for another type or range.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"an array of type {array.dtype}; expected numbers")
    lowest, largest = float(array.min()), float(array.max())
    limit = 65535 if array.dtype == np.uint16 else 255
    # Written so that it also refuses what is not a number.
    if not 0 <= lowest <= largest <= limit:
        raise DataError(
            f"numbers from {lowest:g} to {largest:g}; expected 0 to {limit}, or fractions from 0 to 1"
        )
    return array.astype(np.float32) / np.float32(find_white(largest if highest is None else highest))


def highest_tone(source: "Source") -> float:
    """Returns the largest number in a picture of more than 8 bits.

    Raises:
        DataError: As `load_image`.
    """
    with _opened(source) as picture:
        return float(np.asarray(picture, np.float32).max())


def background_of(source: "Source") -> float:
    """Returns the luminance in [0, 1] from which a picture with transparent pixels stands out.

    Raises:
        DataError: As `load_image`.
    """
    with _opened(source) as picture:
        rgba = picture.convert("RGBA")
        pixels = np.asarray(rgba.getchannel("A"), np.float32) / 255
        return _background_for(np.asarray(rgba.convert("L"), np.float32) / 255, pixels)


@contextlib.contextmanager
def _opened(source: "Source") -> "Iterator[Image.Image]":
    """Opens a picture at its first frame; whatever Pillow raises until it is closed becomes a DataError."""
    from PIL import Image, UnidentifiedImageError

    name = getattr(source, "name", "the picture") if hasattr(source, "read") else str(source)
    with warnings.catch_warnings():
        # Pillow warns of much that it then reads well, and of size, which is checked here.
        warnings.simplefilter("ignore")
        try:
            with Image.open(source, formats=_FORMATS) as picture:
                _check_size(picture.size)
                if picture.format == "TIFF":
                    _check_tiles(picture)
                picture.seek(0)
                yield picture
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        except Image.DecompressionBombError as error:
            raise DataError(f"{name}: larger than the {MAX_PIXELS:,} pixels accepted") from error
        except UnidentifiedImageError as error:
            raise DataError(f"{name}: empty, or not a picture in a format that is read here") from error
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error
        except Exception as error:
            # Pillow's decoders raise anything from SyntaxError to struct.error on a damaged file.
            reason = " ".join(str(error).split())
            raise DataError(f"{name}: a damaged picture ({type(error).__name__}: {reason})") from error


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{size[0]} x {size[1]} pixels, more than the {MAX_PIXELS:,} accepted")


def _check_tiles(picture: Any) -> None:
    """Refuses a TIFF whose tiles are larger than a picture may be, however small the picture itself."""
    sides = [picture.tag_v2.get(tag, 1) for tag in (_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH)]
    if not all(isinstance(side, int) for side in sides):
        raise DataError("its tiles have no size")
    _check_size((sides[0], sides[1]))


def _is_deep(picture: "Image.Image") -> bool:
    return picture.mode.startswith(("I", "F"))


def _deep_to_gray(picture: "Image.Image", factor: int, white: float | None, stretch: bool) -> np.ndarray:
    """Float32 in [0, 1] from a picture of more than 8 bits."""
    from PIL import Image

    values = np.asarray(picture, np.float32)
    if not np.isfinite(values).all():
        raise DataError("holds values that are not finite numbers")
    lowest, highest = (float(values.min()), float(values.max())) if stretch else (0.0, 0.0)
    scale = (highest - lowest or 1.0) if stretch else white or _full_scale(values, picture.mode)
    reduced = np.asarray(Image.fromarray(values).reduce(factor))
    return np.clip((reduced - np.float32(lowest)) / np.float32(scale), 0, 1)


def _full_scale(values: np.ndarray, mode: str) -> float:
    """What counts as white: 16-bit pictures come in several modes, and floating point ones in any range."""
    highest = float(values.max())
    if mode == "F" and highest <= 255:
        return find_white(highest)
    return max(_DEPTHS[-1], highest)


def _to_array(
    picture: "Image.Image",
    factor: int,
    channels: int,
    background: float | None,
    steps: list[Step] | None,
) -> np.ndarray:
    """Float32 in [0, 1] from an upright picture of 8 bits, in any mode."""
    has_alpha = picture.has_transparency_data
    is_gray_alone = channels == 1 and steps is None and not has_alpha
    if not (is_gray_alone and picture.mode == "L"):
        picture = picture.convert("RGBA" if has_alpha else "RGB")
    picture = picture.reduce(factor)
    gray = np.asarray(picture.convert("L"), np.float32) / 255
    if is_gray_alone:
        return gray
    pixels = np.asarray(picture, np.float32) / 255
    color = gray if channels == 1 else pixels[..., :3]
    if has_alpha:
        alpha = pixels[..., 3]
        fill = _background_for(gray, alpha) if background is None else background
        note(steps, AS_GIVEN, alpha[..., None] * pixels[..., :3] + (1 - alpha[..., None]) * np.float32(0.5))
        alpha = alpha if channels == 1 else alpha[..., None]
        color = alpha * color + (1 - alpha) * np.float32(fill)
    else:
        note(steps, AS_GIVEN, pixels)
    return color


def _background_for(gray: np.ndarray, alpha: np.ndarray) -> float:
    """The luminance to lay a transparent picture on, judged where what is visible meets what is not.

    There is either paper (an even tone that the character differs from), the soft rim of a character drawn
    without paper (a tone between the character's and the one it was drawn for), or plain ink.
    """
    visible = alpha > 0.02
    clear = np.pad(~visible, 1)
    beside_clear = clear[:-2, 1:-1] | clear[2:, 1:-1] | clear[1:-1, :-2] | clear[1:-1, 2:]
    rim = gray[visible & beside_clear]
    if not rim.size:
        return 1.0
    rim_tone = float(np.median(rim))
    darkest, lightest = np.percentile(gray[visible], [1, 99])
    if max(lightest - rim_tone, rim_tone - darkest) < 0.2:
        return 0.0 if rim_tone > 0.5 else 1.0
    if np.ptp(np.percentile(rim, [10, 90])) < 0.1:
        return rim_tone
    core = gray[visible & ~beside_clear]
    core_tone = float(core.mean()) if core.size else lightest
    return 0.0 if core_tone > rim.mean() else 1.0
