"""Small data sets on disk, real MNIST where it is at hand, and no way out to the network."""

import gzip
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}

# Read before any test changes the environment.
REAL_MNIST = os.environ.get("MNIST_JAX_DATA_DIR", "")


def encode_idx(array: np.ndarray) -> bytes:
    """The IDX bytes of an array, written from the format's description, not with the code under test."""
    header = bytes((0, 0, IDX_CODES[array.dtype.str[1:]], array.ndim))
    header += b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


# What Keras calls the four arrays.
KEYS = ("x_train", "y_train", "x_test", "y_test")


class SmallSet:
    """A hand-made data set of random images that a test may damage before it is written."""

    def __init__(self, num_train: int = 30, num_test: int = 20, size: int = 28, num_classes: int = 10):
        rng = np.random.default_rng(0)
        self.arrays = {
            "train-images-idx3-ubyte": rng.integers(0, 256, (num_train, size, size), np.uint8),
            "train-labels-idx1-ubyte": (np.arange(num_train) % num_classes).astype(np.uint8),
            "t10k-images-idx3-ubyte": rng.integers(0, 256, (num_test, size, size), np.uint8),
            "t10k-labels-idx1-ubyte": (np.arange(num_test) % num_classes).astype(np.uint8),
        }

    def write(
        self, folder: Path, *, gz: bool = True, rename: Callable[[str], str] = lambda name: name
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in self.arrays.items():
            blob = encode_idx(array)
            path = folder / (rename(name) + (".gz" if gz else ""))
            path.write_bytes(gzip.compress(blob, 1, mtime=0) if gz else blob)
        return folder

    def write_npz(self, path: Path) -> Path:
        np.savez(path, **dict(zip(KEYS, self.arrays.values(), strict=True)))
        return path.parent


@pytest.fixture
def small() -> SmallSet:
    return SmallSet()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No folder of the person's, a cache of the test's own, and a proxy where nobody listens."""
    # TFDS leaves an empty temporary folder behind for every builder.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.delenv("MNIST_JAX_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def real_mnist() -> Path:
    if not REAL_MNIST:
        pytest.skip("MNIST_JAX_DATA_DIR is not set: no real MNIST at hand")
    return Path(REAL_MNIST)


@pytest.fixture
def make_small() -> type[SmallSet]:
    return SmallSet


@pytest.fixture
def encode() -> Callable[[np.ndarray], bytes]:
    return encode_idx
