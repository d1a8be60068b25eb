"""How much stays right where test images are turned, scaled and shifted, little by little."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int, UInt8

NUM_IMAGES = 250

# Degrees; factors of the size; pixels. Each with the amount at which an image stays as it is.
CHANGES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "rotation": (-45.0, -30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0, 45.0),
        "scale": (0.5, 0.65, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5),
        "shift right": (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0),
        "shift down": (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0),
    }
)

Images = UInt8[np.ndarray, "images height width channels"]


def change(images: Images, name: str, amount: float) -> Images:
    """Turns (clockwise), scales or shifts images about their center; border pixels go on beyond it.

    Args:
        images: of any size.
        name: one of `CHANGES`.
        amount: in that change's unit.

    Raises:
        KeyError: there is no such change.
    """
    matrix, offset = np.eye(2), np.zeros(2)
    if name == "rotation":
        turn = np.deg2rad(amount)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    elif name == "scale":
        matrix = np.eye(2) / amount
    else:
        offset = {"shift right": np.array([0, -amount]), "shift down": np.array([-amount, 0])}[name]
    height, width = images.shape[1:3]
    center = np.array([(height - 1) / 2, (width - 1) / 2])
    places = np.moveaxis(np.indices((height, width)), 0, -1) @ matrix.T + (center - matrix @ center + offset)
    return np.round(_interpolate(images, places)).astype(np.uint8)


def _interpolate(
    images: Images, places: Float[np.ndarray, "height width 2"]
) -> Float[np.ndarray, "images height width channels"]:
    """Reads every image at the same places (row, column), by bilinear interpolation.

    The images lie innermost, so that a place is looked up once for all of them;
    ``scipy.ndimage.affine_transform`` calculates it for each. `augment.affine.apply_affine_transform` would
    serve as well, but its program takes longer to trace and compile than this takes for all changes.
    """
    volume = np.ascontiguousarray(images.transpose(1, 2, 0, 3), np.float32)
    last = np.array(images.shape[1:3]) - 1
    places = np.clip(places, 0, last)
    before = places.astype(int)
    top, left = np.moveaxis(before, -1, 0)
    bottom, right = np.moveaxis(np.minimum(before + 1, last), -1, 0)
    down, along = np.moveaxis((places - before).astype(np.float32), -1, 0)[..., None, None]
    upper = volume[top, left] * (1 - along) + volume[top, right] * along
    lower = volume[bottom, left] * (1 - along) + volume[bottom, right] * along
    return (upper * (1 - down) + lower * down).transpose(2, 0, 1, 3)


def change_all(
    images: Images, labels: Int[np.ndarray, " images"]
) -> tuple[Int[np.ndarray, " taken"], UInt8[np.ndarray, "changed height width channels"]]:
    """Makes every change of `CHANGES`, in their order, to at most 250 images, evenly spread over those given.

    Returns:
        the labels of the images that were taken, and all of these after the first change, the second, ...
    """
    rows = np.unique(np.linspace(0, len(images) - 1, NUM_IMAGES).round().astype(int))
    changed = [change(images[rows], name, amount) for name, amounts in CHANGES.items() for amount in amounts]
    return labels[rows], np.concatenate(changed)


def accuracy_by_change(
    probabilities: Float[np.ndarray, "changed classes"], labels: Int[np.ndarray, " taken"]
) -> Float[np.ndarray, " changes"]:
    """Returns the share that is right after each change, from the answers to what `change_all` made."""
    return np.asarray((probabilities.argmax(axis=1).reshape(-1, len(labels)) == labels).mean(axis=1))


def by_name(accuracies: Float[np.ndarray, " changes"]) -> dict[str, Float[np.ndarray, " amounts"]]:
    """Returns what `accuracy_by_change` gave for each change."""
    ends = np.cumsum([len(amounts) for amounts in CHANGES.values()])
    return dict(zip(CHANGES, np.split(accuracies, ends[:-1]), strict=True))
