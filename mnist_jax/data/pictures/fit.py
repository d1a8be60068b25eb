"""Pictures of any size brought to the one size that a network takes (no JAX)."""

import numpy as np
from jaxtyping import Float, Int, UInt8

# The article's network needs 16 pixels a side; its digits have 28; more than 64 is seldom worth its time.
_SMALLEST_SIDE = 16
_USUAL_SIDE = 28
_LARGEST_SIDE = 64


def choose_size(sizes: Int[np.ndarray, "pictures 2"], image_size: int = 0) -> tuple[int, int]:
    """Returns the height and width, in pixels, that suit pictures of these sizes.

    Pictures of one size keep their aspect, and that size itself where it is from 16 to 64 pixels; pictures of
    several sizes get a square, from 28 to 64 pixels by the median of their longer sides.

    Args:
        sizes: height and width of each picture.
        image_size: the longer side of the result; 0 to have it chosen.
    """
    have_one_size = bool((sizes == sizes[0]).all())
    height, width = map(int, sizes[0])
    longest = max(height, width)
    if have_one_size and (
        image_size == longest
        or (not image_size and longest <= _LARGEST_SIDE and min(height, width) >= _SMALLEST_SIDE)
    ):
        return height, width
    side = image_size or int(np.clip(np.median(sizes.max(axis=1)), _USUAL_SIDE, _LARGEST_SIDE))
    if not have_one_size:
        return side, side
    least = min(side, _SMALLEST_SIDE)
    return max(least, round(side * height / longest)), max(least, round(side * width / longest))


def fit_to_shape(
    image: Float[np.ndarray, "height width *channels"], image_shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "out_height out_width out_channels"]:
    """Resizes a picture, with antialiasing, and changes between gray and color as the shape asks.

    The aspect is kept: what is missing on two sides is filled with the median tone of the picture's border.

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
    fitted = to_uint8(_resize_and_pad(image, height, width))
    if channels == 1 and fitted.shape[2] == 3:
        # Last, so that a gray picture is the same whether it was read as gray or as color.
        fitted = np.rint(luminance(fitted.astype(np.float32))).astype(np.uint8)[..., None]
    return np.broadcast_to(fitted, (height, width, channels)).copy()


def _resize_and_pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    scale = min(height / image.shape[0], width / image.shape[1])
    inner_height, inner_width = (max(1, round(side * scale)) for side in image.shape[:2])
    box = (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
    shape = inner_height, inner_width
    planes = [resize(image[..., c], shape, box, smooth=scale > 1) for c in range(image.shape[2])]
    resized = np.stack(planes, axis=-1)
    if (inner_height, inner_width) == (height, width):
        return resized
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    padded = np.empty((height, width, image.shape[2]), np.float32)
    padded[:] = np.median(border, axis=0)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    padded[top : top + inner_height, left : left + inner_width] = resized
    return padded


def luminance(rgb: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
    """Weighs red, green and blue as the eye does (ITU-R 601)."""
    return rgb @ np.array([0.299, 0.587, 0.114], rgb.dtype)


def resize(
    plane: Float[np.ndarray, "height width"],
    shape: tuple[int, int],
    box: tuple[float, float, float, float],
    smooth: bool = False,
) -> Float[np.ndarray, "out_height out_width"]:
    """Resizes the part of a plane within ``box``: each result is the mean over the pixels it covers.

    Args:
        plane: any numbers.
        shape: height and width of the result.
        box: left, top, right and bottom, in pixels of the plane.
        smooth: interpolate linearly instead, for enlarging.
    """
    from PIL import Image

    picture = Image.fromarray(plane.astype(np.float32))
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.BOX
    return np.asarray(picture.resize((shape[1], shape[0]), method, box))


def to_uint8(values: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Rounds tones in [0, 1] to 0 to 255; what lies outside is clipped."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
