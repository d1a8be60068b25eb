"""Pictures from anywhere, brought to the form of the data a model was trained on (no JAX).

`load_image` reads a file as numbers; `to_mnist` then does what the makers of MNIST did to NIST's forms (LeCun
et al. 1998): the ink's bounding box is scaled into 20x20 keeping its aspect, and placed so that its center of
mass is at the center of 28x28. `fit_to_shape` is for data sets that have no such form.
"""

import warnings
from typing import IO, TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from mnist_jax.errors import DataError

if TYPE_CHECKING:
    from os import PathLike

    from PIL import Image

MAX_PIXELS = 64_000_000
MAX_SIDE = 2048
MNIST_SHAPE = (28, 28)
MNIST_BOX = 20

# A picture whose ink differs from its paper by less than 5 of 255 levels is blank.
_MIN_CONTRAST = 0.02

# In pixels of the result. Few strokes in MNIST are thinner than the first; the second is still slender there.
_THIN_STROKE = 1.2
_USUAL_STROKE = 2.0


def load_image(
    source: "str | PathLike[str] | IO[bytes]", channels: int = 1
) -> Float[np.ndarray, "height width *channels"]:
    """Reads a picture file: any format, mode and bit depth Pillow knows.

    The first frame counts; an EXIF orientation is applied; transparency is laid on a background that the
    picture stands out from. Sides beyond 2048 pixels are reduced by a whole factor.

    Args:
        source: A path, or a binary file open for reading.
        channels: 1 for luminance (ITU-R 601), 3 for red, green, blue.

    Returns:
        Float32 in [0, 1], ``[height, width]`` for one channel, else ``[height, width, 3]``.

    Raises:
        DataError: When the file is missing, empty, no picture, damaged, or beyond 64 million pixels.
        ValueError: When ``channels`` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels!r}")
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = getattr(source, "name", "the picture") if hasattr(source, "read") else str(source)
    with warnings.catch_warnings():
        # Pillow warns of much that it then reads well, and of size, which is checked here.
        warnings.simplefilter("ignore")
        try:
            with Image.open(source) as picture:
                _check_size(picture.size)
                picture.seek(0)
                upright = ImageOps.exif_transpose(picture)
                upright.load()
                return _to_array(upright, channels)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        except Image.DecompressionBombError as error:
            raise DataError(f"{name}: larger than the {MAX_PIXELS:,} pixels accepted") from error
        except UnidentifiedImageError as error:
            raise DataError(f"{name}: empty, or not a picture in a format that Pillow reads") from error
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error
        except Exception as error:
            # Pillow's decoders raise anything from SyntaxError to struct.error on a damaged file.
            raise DataError(f"{name}: a damaged picture ({type(error).__name__}: {error})") from error


def to_mnist(
    gray: Float[np.ndarray, "height width"],
    image_shape: tuple[int, ...] = MNIST_SHAPE,
    box: int = MNIST_BOX,
) -> UInt8[np.ndarray, "out_height out_width 1"]:
    """Brings a picture of one character to MNIST's form: light on black, in the box, centered by mass.

    Dark ink on light paper and light on dark are told apart by the picture's border; a linear fall of light
    over the paper and its noise are taken away; thin pen strokes are thickened to what is usual in MNIST. A
    picture that has MNIST's size and form already is returned as it is (or as its negative).

    Args:
        gray: Luminance in [0, 1], as `load_image` gives it.
        image_shape: Height and width of the result.
        box: Side of the box that the ink fills where the smaller side of the result is 28.

    Returns:
        The character on black, ``[*image_shape, 1]``.

    Raises:
        DataError: When there is no ink to be seen.
        ValueError: When ``gray`` is not a two-dimensional array of finite numbers.

    Source:
        http://yann.lecun.com/exdb/mnist; LeCun et al., Gradient-based learning applied to document
        recognition, 1998.
    """
    gray = np.asarray(gray, np.float64)
    if gray.ndim != 2 or not gray.size or not np.isfinite(gray).all():
        raise ValueError(f"gray must be [height, width] of finite numbers, got shape {list(gray.shape)}")
    height, width = image_shape[:2]
    box_side = round(min(height, width) * box / MNIST_SHAPE[0])
    ink = _ink(gray)
    if gray.shape == (height, width) and _has_mnist_form(ink, box_side):
        return _to_uint8(ink)[..., None]
    character = _fit_into_box(ink, box_side)
    return _to_uint8(_place_by_mass(character, height, width))[..., None]


def fit_to_shape(
    image: Float[np.ndarray, "height width *channels"], image_shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "out_height out_width out_channels"]:
    """Resizes a picture, with antialiasing, and changes between gray and color as the shape asks.

    Args:
        image: In [0, 1], ``[height, width]``, or ``[height, width, 1 or 3]``.
        image_shape: Height, width and channels (1 or 3) of the result.

    Returns:
        The resized picture, 0 to 255.

    Raises:
        ValueError: When either has a number of channels other than 1 or 3.
    """
    image = np.asarray(image, np.float32)
    image = image[..., None] if image.ndim == 2 else image
    height, width, channels = image_shape
    if image.ndim != 3 or image.shape[2] not in (1, 3) or channels not in (1, 3):
        raise ValueError(f"1 or 3 channels are needed, got {list(image.shape)} for {list(image_shape)}")
    if channels == 1 and image.shape[2] == 3:
        image = luminance(image)[..., None]
    box = (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
    planes = [_resize(image[..., c], (height, width), box) for c in range(image.shape[2])]
    return np.broadcast_to(_to_uint8(np.stack(planes, axis=-1)), (height, width, channels)).copy()


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{size[0]} x {size[1]} pixels, more than the {MAX_PIXELS:,} accepted")


def _to_array(picture: "Image.Image", channels: int) -> np.ndarray:
    """Float32 in [0, 1] from an upright picture of any mode."""
    from PIL import Image

    factor = -(-max(picture.size) // MAX_SIDE)
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, np.float32)
        if not np.isfinite(values).all():
            raise DataError("holds values that are not finite numbers")
        reduced = np.asarray(Image.fromarray(values).reduce(factor))
        gray = np.clip(reduced / _full_scale(values, picture.mode), 0, 1)
        return gray if channels == 1 else np.repeat(gray[..., None], 3, axis=2)
    has_alpha = picture.has_transparency_data
    picture = picture.convert("RGBA" if has_alpha else "RGB").reduce(factor)
    pixels = np.asarray(picture, np.float32) / 255
    gray = np.asarray(picture.convert("L"), np.float32) / 255
    color = gray if channels == 1 else pixels[..., :3]
    if not has_alpha:
        return color
    alpha = pixels[..., 3]
    fill = _background_for(gray, alpha)
    alpha = alpha if channels == 1 else alpha[..., None]
    return alpha * color + (1 - alpha) * np.float32(fill)


def _full_scale(values: np.ndarray, mode: str) -> float:
    """What counts as white: 16-bit pictures come in several modes, and floating point ones in any range."""
    if mode == "F" and values.max() <= 1:
        return 1.0
    if mode == "F" and values.max() <= 255:
        return 255.0
    return max(65535.0, float(values.max()))


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


def luminance(rgb: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
    """Weighs red, green and blue as the eye does (ITU-R 601)."""
    return rgb @ np.array([0.299, 0.587, 0.114], rgb.dtype)


def _ink(gray: np.ndarray) -> np.ndarray:
    """Ink in [0, 1], whatever the paper: 0 on the paper and its noise, about 1 in full strokes."""
    paper, noise = _paper(gray)
    difference = gray - paper
    # Ink lies far from the paper's tone and on one side, noise near and on both: the cube tells.
    if (difference**3).sum() < 0:
        # Dark ink swallows a share of the light that falls on it, so less where the paper is dim.
        lit = np.maximum(paper, 0.1)
        difference, noise = -difference / lit, noise / float(lit.mean())
    ink = np.maximum(difference - 3 * noise, 0)
    strokes = ink[ink > ink.max() / 2]
    peak = float(np.percentile(strokes, 95)) if strokes.size else 0.0
    if peak < max(_MIN_CONTRAST, 3 * noise):
        raise DataError("the picture is blank: nothing in it stands out from its background")
    return np.clip(ink / peak, 0, 1) if peak < 0.9 or noise else np.clip(ink, 0, 1)


def _paper(gray: np.ndarray) -> tuple[np.ndarray, float]:
    """The paper's luminance, a plane fitted to the border, and the noise (standard deviation) around it."""
    height, width = gray.shape
    rim = max(1, min(height, width) // 28)
    on_border = np.ones(gray.shape, bool)
    on_border[rim : height - rim, rim : width - rim] = False
    rows, columns = np.nonzero(on_border)
    plane = np.stack([np.ones(rows.size), rows / height - 0.5, columns / width - 0.5], axis=1)
    tones = gray[on_border]
    coefficients = np.array([np.median(tones), 0.0, 0.0])
    deviation = np.abs(tones - coefficients[0])
    # Strokes may cross the border: the plane is fitted to the 70% of it that lie nearest, again and again.
    for _ in range(5):
        kept = deviation <= np.quantile(deviation, 0.7)
        if not deviation[kept].any():
            break
        coefficients = np.linalg.lstsq(plane[kept], tones[kept], rcond=None)[0]
        deviation = np.abs(tones - plane @ coefficients)
    constant, down, across = coefficients
    paper = constant + down * (np.arange(height) / height - 0.5)[:, None]
    return paper + across * (np.arange(width) / width - 0.5), 1.4826 * float(np.median(deviation))


def _bounds(ink: np.ndarray, faintest: float = 0.3) -> tuple[int, int, int, int]:
    """Top, bottom, left, right (ends exclusive) of the strokes, leaving out specks of dirt at either end."""
    strokes = np.where(ink > faintest, ink, 0)

    def ends(profile: np.ndarray) -> tuple[int, int]:
        share = np.cumsum(profile) / profile.sum()
        return int(np.argmax(share > 0.0005)), int(np.argmax(share >= 0.9995)) + 1

    return (*ends(strokes.sum(axis=1)), *ends(strokes.sum(axis=0)))


def _center_of_mass(ink: np.ndarray) -> tuple[float, float]:
    rows, columns = ink.sum(axis=1), ink.sum(axis=0)
    return float(rows @ np.arange(rows.size) / rows.sum()), float(
        columns @ np.arange(columns.size) / columns.sum()
    )


def _has_mnist_form(ink: np.ndarray, box_side: int) -> bool:
    # MNIST's box holds faint pixels too; noise must not be taken for them.
    largest_side = []
    for faintest in (0.1, 0.3):
        top, bottom, left, right = _bounds(ink, faintest)
        largest_side.append(max(bottom - top, right - left))
    offsets = np.abs(np.subtract(_center_of_mass(ink), np.array(ink.shape) // 2))
    return bool(
        largest_side[0] >= 0.85 * box_side and largest_side[1] <= 1.1 * box_side and offsets.max() <= 1
    )


def _fit_into_box(ink: np.ndarray, box_side: int) -> np.ndarray:
    """Crops to the strokes and scales the larger side to ``box_side``, with antialiasing."""
    top, bottom, left, right = _bounds(ink)
    largest = max(bottom - top, right - left)
    stroke_width = _stroke_width(ink)
    if stroke_width * box_side / largest < _THIN_STROKE:
        growth = round(_USUAL_STROKE * largest / box_side - stroke_width)
        ink = _thicken(np.pad(ink, growth), growth + 1)
        top, bottom, left, right = _bounds(ink)
        largest = max(bottom - top, right - left)
    scale = box_side / largest
    height, width = (max(1, round(side * scale)) for side in (bottom - top, right - left))
    # The source box is as large as the result asks, so that both axes have one scale; it may pass the border.
    margin_y, margin_x = (height / scale - (bottom - top)) / 2, (width / scale - (right - left)) / 2
    pad = int(np.ceil(max(margin_y, margin_x, 0))) + 1
    box = (left - margin_x + pad, top - margin_y + pad, right + margin_x + pad, bottom + margin_y + pad)
    return _resize(np.pad(ink, pad), (height, width), box)


def _stroke_width(ink: np.ndarray) -> float:
    """Mean width of the strokes in pixels: twice their area over the length of their outline."""
    strokes = np.pad(ink > 0.5, 1)
    # Steps along rows and columns overrate an outline of random direction by 4/pi.
    outline = (np.diff(strokes, axis=0).sum() + np.diff(strokes, axis=1).sum()) * np.pi / 4
    return 2 * float(strokes.sum()) / float(outline)


def _thicken(ink: np.ndarray, size: int) -> np.ndarray:
    """The maximum over every ``size`` x ``size`` window, in steps that double."""
    for axis in (0, 1):
        reach = 1
        while reach < size:
            step = min(reach, size - reach)
            ink = np.maximum(ink, np.roll(ink, step, axis))
            reach += step
    return ink


def _place_by_mass(character: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pastes with a whole-pixel shift that brings the center of mass nearest to the center."""
    center_row, center_column = _center_of_mass(character)
    top = int(np.floor(height // 2 - center_row + 0.5))
    left = int(np.floor(width // 2 - center_column + 0.5))
    top = min(max(top, 0), height - character.shape[0])
    left = min(max(left, 0), width - character.shape[1])
    placed = np.zeros((height, width))
    placed[top : top + character.shape[0], left : left + character.shape[1]] = character
    return placed


def _resize(plane: np.ndarray, shape: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    from PIL import Image

    picture = Image.fromarray(plane.astype(np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BOX, box))


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
