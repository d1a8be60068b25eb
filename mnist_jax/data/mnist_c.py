"""MNIST-C as published: corrupted test digits in a folder, where a person has it."""

from pathlib import Path

import numpy as np

from mnist_jax.data.npz import read_npy
from mnist_jax.errors import DataError

_SHAPE = (28, 28, 1)


def read_mnist_c(folder: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the corrupted test set of one kind.

    Source: Mu and Gilmer 2019; ``mnist_c.zip`` on Zenodo, record 3239543, unpacked.

    Args:
        folder: holds ``KIND/test_images.npy`` and ``KIND/test_labels.npy``, itself or below ``mnist_c``.
        kind: such as ``shot_noise``.

    Returns:
        images, uint8 ``[N, 28, 28, 1]``, and labels, int32 ``[N]``.

    Raises:
        DataError: a file is missing, damaged or of another form.
    """
    inner = folder / "mnist_c"
    place = (inner if inner.is_dir() else folder) / kind
    images, labels = (read_npy(place / f"test_{part}.npy") for part in ("images", "labels"))
    if images.dtype != np.uint8 or images.shape[1:] != _SHAPE or not len(images):
        raise DataError(
            f"{place / 'test_images.npy'}: {images.dtype} {list(images.shape)}; expected uint8 [N, 28, 28, 1]"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise DataError(
            f"{place / 'test_labels.npy'}: {labels.dtype} {list(labels.shape)}; "
            f"expected whole numbers [{len(images)}]"
        )
    if labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{place / 'test_labels.npy'}: {labels.min()} to {labels.max()}; expected 0 to 9")
    return images, labels.astype(np.int32)
