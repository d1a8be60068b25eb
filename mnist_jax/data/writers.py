"""Who wrote MNIST's training digits, and which test labels people dispute: tables that come with the package.

Made by ``tools/make_mnist_tables.py``; origin and licenses are in ``digits/LICENSE.txt``.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int32

from mnist_jax.data.dataset import Splits

WRITERS_FILE = Path(__file__).parent / "digits" / "mnist_writers.npz"
DISPUTED_FILE = Path(__file__).parent / "digits" / "mnist_disputed.json"

# `content_sha256` of MNIST's 60,000 training and 10,000 test images, from whichever source.
TRAIN_SHA256 = "1dafcf71fb5ee3df1eff2c6e3e110d170a8733285034ab7e3bbf0de0cb86b25e"
TEST_SHA256 = "3fb58830b1f0e271d5ed2e97002998e1e4ba4292ab8c9da7b994b64c460033be"


def with_writers(splits: Splits) -> Splits:
    """Returns the splits with each training image's writer and series, where they are MNIST's to the bit."""
    if splits.train.sha256 != TRAIN_SHA256:
        return splits
    writers, series = read_writers()
    return replace(splits, train=replace(splits.train, groups=writers, strata=series))


def read_writers() -> tuple[Int32[np.ndarray, "60000"], Int32[np.ndarray, "60000"]]:
    """Returns each training digit's writer and series, in MNIST's order.

    Source: QMNIST's extended labels (Yadav and Bottou 2019, arXiv:1905.10498), columns 2 and 1.

    Returns:
        the writer, one of 539 numbers, and the series of NIST's forms: 0 by employees of the census bureau,
        4 by pupils, who write worse.
    """
    with np.load(WRITERS_FILE) as table:
        return table["writer"].astype(np.int32), table["series"].astype(np.int32)


def disputed_labels(test_sha256: str) -> dict[int, str]:
    """Returns the test images of MNIST whose label people dispute; none for any other test set.

    Source: cleanlab's review of ten test sets (Northcutt, Athalye and Mueller 2021, arXiv:2103.14749): of
    five people who were shown the image, fewer than three kept the label.

    Args:
        test_sha256: `content_sha256` of the test set.

    Returns:
        index of the test image (from 0) -> what the reviewers said, for people to read.
    """
    return {
        row["index"]: f"{row['kept']} of 5 keep it, {row['other_votes']} say {row['other']}"
        for row in _read_disputed(test_sha256)
    }


def count_disputed_errors(
    test_sha256: str, predicted: Int[np.ndarray, " examples"] | None
) -> dict[str, int] | None:
    """Counts the errors on test images whose label people dispute: beside all errors, never in their place.

    Args:
        test_sha256: `content_sha256` of the test set.
        predicted: the class that each test image was taken for, in the order of the test set.

    Returns:
        ``images``, how many labels are disputed; ``errors``, how many of these images were taken for another
        class than their label; ``as_reviewers``, in how many of these errors more reviewers say that class
        than kept the label.
        None for another test set than MNIST's.
    """
    rows = _read_disputed(test_sha256)
    if not rows or predicted is None:
        return None
    errors = [row for row in rows if predicted[row["index"]] != row["label"]]
    agree = sum(
        predicted[row["index"]] == row["other"] and row["other_votes"] > row["kept"] for row in errors
    )
    return {"images": len(rows), "errors": len(errors), "as_reviewers": int(agree)}


def _read_disputed(test_sha256: str) -> list[dict[str, int]]:
    """The packed table, or nothing for a test set that is not MNIST's to the bit."""
    return json.loads(DISPUTED_FILE.read_text()) if test_sha256 == TEST_SHA256 else []
