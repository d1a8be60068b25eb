"""Source 2: the project's own cache of downloaded data sets.

A cache can be deleted at any time, and whatever is wrong with it must never stop a run: a damaged file is
reported and rebuilt, a folder that cannot be written is passed over.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from mnist_jax.data.dataset import Dataset, Splits, content_sha256
from mnist_jax.data.npz import read_npz
from mnist_jax.errors import DataError

_KEYS = ("x_train", "y_train", "x_test", "y_test", "meta")


def cache_path(name: str, cache_dir: Path) -> Path:
    """Returns where the cache keeps the data set ``name``."""
    return cache_dir / f"{name.replace('/', '-')}.npz"


def load_cached(name: str, cache_dir: Path) -> Splits | None:
    """Loads a data set from the cache, verifying the SHA-256 of its content.

    Returns:
        The splits; None if the cache does not hold the data set.

    Raises:
        DataError: if the file is there but damaged.
    """
    path = cache_path(name, cache_dir)
    if not os.path.lexists(path):
        return None
    arrays = read_npz(path, _KEYS)
    try:
        meta = json.loads(str(arrays["meta"]))
        if meta["name"] != name:
            raise DataError(f"{path}: holds {meta['name']}; expected {name}")
        datasets = []
        for split in ("train", "test"):
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
            class_names, source = tuple(meta["class_names"]), f"cache {path} of {meta['source']}"
            dataset = Dataset(images, labels, name, source, meta[f"{split}_sha256"], class_names)
            if content_sha256(images, labels) != dataset.sha256:
                raise DataError(f"{path}: the {split} split does not have the SHA-256 written beside it")
            datasets.append(dataset)
        train, test = datasets
        return Splits(train, test)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: its description is damaged ({type(error).__name__}: {error})") from error


def save_to_cache(splits: Splits, cache_dir: Path) -> None:
    """Writes a data set to the cache: under another name first, so that no half-written file is ever read.

    Does nothing where the folder cannot be written.
    """
    train, test = splits.train, splits.test
    meta = json.dumps(
        {
            "name": train.name,
            "source": train.source,
            "class_names": train.class_names,
            "train_sha256": train.sha256,
            "test_sha256": test.sha256,
        }
    )
    arrays = (train.images, train.labels, test.images, test.labels, np.array(meta))
    path = cache_path(train.name, cache_dir)
    with contextlib.suppress(OSError):
        cache_dir.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=cache_dir)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                np.savez(stream, **dict(zip(_KEYS, arrays, strict=True)))  # type: ignore[arg-type]
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
