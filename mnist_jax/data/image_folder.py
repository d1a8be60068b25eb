"""Source 4: pictures sorted into folders, for people's own data."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_jax.data.dataset import Dataset, Splits, interleave_classes
from mnist_jax.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_LITTER = ("thumbs.db", "desktop.ini")
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def load_image_folder(name: str, root: Path) -> Splits:
    """Loads ``root/train/<class>/*.png`` and ``root/test/<class>/*.png`` (or .jpg, .bmp, .gif, .tif, .webp).

    Classes are the sorted names of the folders in ``root/train``. The images are grayscale if every one of
    them is, by content, else RGB. Each split is ordered so that its classes are evenly spread
    (``dataset.interleave_classes``), files of a class by name.

    Args:
        name: the data set's name.
        root: the folder that holds ``train`` and ``test``.

    Raises:
        DataError: if a split or a class has no pictures, a file is no readable 8-bit picture or has
            transparency, one has another size than the first, or test has a class that train lacks.
    """
    files = {split: _pictures_by_class(root / split) for split in ("train", "test")}
    class_names = tuple(files["train"])
    unknown = sorted(set(files["test"]) - set(class_names))
    if unknown:
        raise DataError(
            f"{root / 'test' / unknown[0]}: a class that train lacks; "
            f"expected one of {', '.join(class_names)}"
        )
    images, labels = {}, {}
    first = next(iter(files["train"].values()))[0]
    size = _read_rgb(first).shape
    for split, by_class in files.items():
        paths = [path for members in by_class.values() for path in members]
        labels[split] = np.array([class_names.index(path.parent.name) for path in paths], np.int32)
        images[split] = np.stack([_read_rgb_of_size(path, size, first) for path in paths])
    if all(_is_gray(array) for array in images.values()):
        images = {split: array[..., :1] for split, array in images.items()}
    datasets = []
    for split in ("train", "test"):
        order = interleave_classes(labels[split])
        datasets.append(
            Dataset.from_arrays(
                images[split][order],
                labels[split][order],
                name=name,
                source=f"image folder {root}",
                class_names=class_names,
            )
        )
    train, test = datasets
    return Splits(train, test)


def _pictures_by_class(folder: Path) -> dict[str, list[Path]]:
    classes: dict[str, list[Path]] = {}
    for entry in _visible_entries(folder):
        if not entry.is_dir():
            raise DataError(f"{entry}: a file beside the class folders; expected only folders in {folder}")
        pictures = _visible_entries(entry)
        odd = next((path for path in pictures if path.suffix.lower() not in _SUFFIXES), None)
        if odd:
            raise DataError(f"{odd}: not a picture file; expected {', '.join(_SUFFIXES)}")
        if not pictures and folder.name == "train":
            raise DataError(f"{entry}: no pictures in it; expected at least one for every class")
        if pictures:
            classes[entry.name] = pictures
    if not classes:
        raise DataError(f"{folder}: an empty split; expected a folder of pictures for every class")
    return classes


def _visible_entries(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: the folder does not exist; "
            "expected train/ and test/ with a folder of pictures for every class"
        ) from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}; expected a readable folder") from error
    return [folder / name for name in names if not name.startswith(".") and name.lower() not in _LITTER]


def _read_rgb(path: Path) -> np.ndarray:
    """Decodes a picture to uint8 ``[height, width, 3]``."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            _check_plain(image, path)
            return np.asarray(image.convert("RGB"))
    # What Pillow's decoders raise on damaged files, each its own.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as a picture ({reason}); expected an intact file") from error


def _check_plain(image: "Image.Image", path: Path) -> None:
    if image.mode not in _EIGHT_BIT_MODES:
        raise DataError(f"{path}: pixels of mode {image.mode}; expected 8 bits a channel, grayscale or RGB")
    if image.has_transparency_data:
        opaque = image.convert("RGBA").getchannel("A").getextrema() == (255, 255)
        if not opaque:
            raise DataError(f"{path}: has transparent pixels; expected a picture saved on a solid background")


def _read_rgb_of_size(path: Path, size: tuple[int, ...], first: Path) -> np.ndarray:
    pixels = _read_rgb(path)
    if pixels.shape != size:
        raise DataError(
            f"{path}: {pixels.shape[0]} x {pixels.shape[1]} pixels (height x width); "
            f"expected {size[0]} x {size[1]} as in {first}"
        )
    return pixels


def _is_gray(images: np.ndarray) -> bool:
    return bool((images[..., :1] == images).all())
