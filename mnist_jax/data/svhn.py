"""Street View House Numbers, cropped to single digits: MATLAB files with ``X`` and ``y``.

Source: http://ufldl.stanford.edu/housenumbers (Netzer et al. 2011).
"""

import io
import string
from pathlib import Path

import numpy as np

from mnist_jax.data.assemble import Part, Role
from mnist_jax.data.dataset import check_labels
from mnist_jax.data.idx import read_bytes
from mnist_jax.errors import DataError

SVHN = "svhn_cropped"
SVHN_FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
SVHN_CLASSES = tuple(string.digits)


def is_svhn(folder: Path) -> bool:
    """Whether a folder holds the two files."""
    return all((folder / file).is_file() for file in SVHN_FILES.values())


def read_svhn_folder(folder: Path) -> dict[Role, Part]:
    """As `read_svhn`, from a folder."""
    return read_svhn({split: read_bytes(folder / file) for split, file in SVHN_FILES.items()}, str(folder))


def read_svhn(blobs: dict[str, bytes], where: str) -> dict[Role, Part]:
    """Reads the files of train and test.

    Args:
        blobs: the bytes of the file of each split.
        where: where they are from, for messages.

    Returns:
        images uint8 ``[N, 32, 32, 3]`` and labels uint8 ``[N]``; the files' label 10 is the digit 0.

    Raises:
        DataError: a file is damaged or holds something else.
    """
    parts = {}
    for split, blob in blobs.items():
        name = f"{where}, {SVHN_FILES[split]}"
        images, labels = _read_mat(blob, name)
        parts[Role(split, "images")] = Part(name, images)
        parts[Role(split, "labels")] = Part(name, labels)
    return parts


def _read_mat(blob: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat

    try:
        content = loadmat(io.BytesIO(blob), variable_names=("X", "y"))
        images, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    # SciPy's reader raises what its parsing runs into: struct, zlib, index and type errors among them.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{where}: cannot be read ({type(error).__name__}: {reason}); expected a MATLAB file with X and y"
        ) from error
    if images.ndim != 4 or images.shape[:3] != (32, 32, 3) or images.dtype != np.uint8:
        raise DataError(f"{where}: X is {images.dtype} {images.shape}; expected uint8 (32, 32, 3, N)")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where}: y is {labels.dtype}; expected whole numbers from 1 to 10")
    check_labels(labels, 10, where, first_label=1)
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), (labels % 10).astype(np.uint8)
