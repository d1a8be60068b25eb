"""Packs who wrote MNIST's training digits, and its disputed test labels, into ``mnist_jax/data/digits/``.

    python tools/make_mnist_tables.py qmnist-train-labels-idx2-int.gz mnist_mturk.json

The first file is of https://github.com/facebookresearch/qmnist (BSD), the second of
https://github.com/cleanlab/label-errors, mturk/mnist_mturk.json (Apache 2.0).
"""

import gzip
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from mnist_jax.data.writers import DISPUTED_FILE, WRITERS_FILE

WRITERS_SHA256 = "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f"
REVIEW_SHA256 = "448bd00fc9df262c68d50d48709d7fa3d5dc966bc66580e5df20e0dcba6e5612"
NUM_REVIEWERS = 5


def read(path: Path, sha256: str) -> bytes:
    """Reads a file that has to be the one that was published."""
    blob = path.read_bytes()
    if hashlib.sha256(blob).hexdigest() != sha256:
        raise SystemExit(f"error: {path} is not the published file (sha256 {sha256[:12]}...)")
    return blob


def pack_writers(labels: bytes) -> None:
    """Writes ``writer``, uint16 ``[60000]``, and ``series``, uint8 ``[60000]``, in MNIST's order."""
    # IDX: magic number, two sizes, then int32 [60000, 8]: class, series, writer, ...
    table = np.frombuffer(gzip.decompress(labels), ">i4", offset=12).reshape(60_000, 8)
    np.savez_compressed(
        WRITERS_FILE, writer=table[:, 2].astype(np.uint16), series=table[:, 1].astype(np.uint8)
    )


def pack_disputed(review: bytes) -> None:
    """Writes the test images whose label fewer than three of five reviewers kept."""
    rows = []
    for image in json.loads(review):
        votes = image["mturk"]
        if 2 * votes["given"] < NUM_REVIEWERS:
            rows.append(
                {
                    "index": image["id"],
                    "label": image["given_original_label"],
                    "kept": votes["given"],
                    "other": image["our_guessed_label"],
                    "other_votes": votes["guessed"],
                }
            )
    rows.sort(key=lambda row: row["index"])
    DISPUTED_FILE.write_text("[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]\n")


if __name__ == "__main__":
    pack_writers(read(Path(sys.argv[1]), WRITERS_SHA256))
    pack_disputed(read(Path(sys.argv[2]), REVIEW_SHA256))
