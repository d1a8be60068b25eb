"""The way from a data set's name to its checked splits, through the five sources."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from mnist_jax.data import tfds
from mnist_jax.data.assemble import fit_images
from mnist_jax.data.cache import load_cached, save_to_cache
from mnist_jax.data.dataset import Dataset, Splits, content_sha256
from mnist_jax.data.embedded import load_embedded
from mnist_jax.data.folder import VARIABLE, is_in_idx_files, load_folder, load_from_variable
from mnist_jax.data.known import EMBEDDED_NAME, FAMILY, QMNIST
from mnist_jax.data.writers import with_writers
from mnist_jax.errors import DataError
from mnist_jax.runtime.environment import user_cache_dir


def load_splits(
    name: str,
    *,
    data_dir: str | os.PathLike[str] = "",
    fallback: str = "",
    image_size: int = 0,
    group: str = "",
    cache_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
) -> Splits:
    """Loads the train and test split of a data set.

    The first source that applies is used: ``data_dir`` (nothing else is tried then); the folder of the
    environment variable MNIST_JAX_DATA_DIR; the cache; TFDS, whose downloads go to the cache; for "mnist"
    alone, the embedded digits. Damaged files of a person's own are an error, never a reason to try the next
    source.

    Args:
        name: "mnist" (with ``data_dir``: whatever is there), "fashion_mnist", "kmnist", "emnist/letters" (or
            balanced, byclass, bymerge, digits, mnist), "cifar10", "cifar100", "svhn_cropped", "mnist_5k" (the
            embedded digits), another image data set of TFDS, or, with ``data_dir``, a name of your own.
        data_dir: a folder with the data, or "".
        fallback: "mnist_5k" to stand in for "mnist" where it cannot be reached, which is found out in less
            than 5 seconds, or "" to raise then.
        image_size: the longer side to bring the images to; 0 leaves those of known data sets as they are and
            has one chosen that suits a person's own.
        group: of a person's own data, what tells which examples are of one origin: a column, or a regular
            expression for the names of pictures, see `groups.groups_of`.
        cache_dir: where downloads are kept; None means the user's cache folder.
        manual_dir: a folder with the published files for TFDS to check and use: goes straight to that source.

    Returns:
        The splits; ``notice`` is text to show to the person where it is not "".

    Raises:
        DataError: one line saying what was wrong, where, and what would be right.
    """
    splits = _load(name, data_dir, fallback, image_size, group, cache_dir, manual_dir)
    if group and splits.train.groups is None:
        raise DataError(
            f"{splits.train.name} ({splits.train.source}): no names of pictures and no table to tell "
            f"data.group={group!r} from; expected none here"
        )
    splits = with_writers(splits)
    return _resize(splits, image_size) if image_size else splits


def reads_idx_files(name: str, data_dir: str | os.PathLike[str] = "") -> bool:
    """Whether `load_splits` reads IDX files for the same ``name`` and ``data_dir``.

    Then it imports nothing that JAX and what goes with it import, and may run beside their import: two
    threads that import parts of one package at a time may fail.
    """
    if name == EMBEDDED_NAME:
        return False
    try:
        if data_dir:
            return is_in_idx_files(name, _path(data_dir))
        if not (variable := os.environ.get(VARIABLE)):
            return False
        nested = _path(variable) / name
        if nested.is_dir():
            return is_in_idx_files(name, nested)
        return name == "mnist" and is_in_idx_files(name, _path(variable))
    except OSError:
        return False  # what is wrong with the folder, loading tells


def _resize(splits: Splits, image_size: int) -> Splits:
    height, width, _ = splits.train.image_shape
    if max(height, width) == image_size:
        return splits
    images, preparation = fit_images(splits.train.images, image_size)
    test_images, _ = fit_images(splits.test.images, image_size)
    new = "x".join(map(str, images.shape[1:3]))
    return replace(
        splits,
        train=_with_images(splits.train, images),
        test=_with_images(splits.test, test_images),
        preparation=preparation,
        remarks=(*splits.remarks, f"images of {height}x{width} (height x width) are brought to {new}"),
    )


def _with_images(dataset: Dataset, images: np.ndarray) -> Dataset:
    return replace(dataset, images=images, sha256=content_sha256(images, dataset.labels))


def _load(
    name: str,
    data_dir: str | os.PathLike[str],
    fallback: str,
    image_size: int,
    group: str,
    cache_dir: str | os.PathLike[str] | None,
    manual_dir: str | os.PathLike[str] | None,
) -> Splits:
    _check_name(name)
    if fallback not in ("", EMBEDDED_NAME):
        raise DataError(f"data.fallback is {fallback!r}; expected {EMBEDDED_NAME!r} or ''")
    if data_dir:
        if name == EMBEDDED_NAME:
            raise DataError(
                f"data.dir is {str(data_dir)!r}, but {name} is embedded; expected data.dir='' with it"
            )
        return load_folder(name, _path(data_dir), image_size, group)
    if name == EMBEDDED_NAME:
        return load_embedded()
    if manual_dir:
        return tfds.load_tfds(name, _path(manual_dir))
    if variable := os.environ.get(VARIABLE):
        splits = load_from_variable(name, _path(variable), image_size, group)
        if splits:
            return splits
    if name == QMNIST:
        raise DataError(
            "qmnist is read from its files; expected data.dir with qmnist-train-images-idx3-ubyte.gz, "
            "qmnist-train-labels-idx2-int.gz and the two of test (github.com/facebookresearch/qmnist)"
        )
    return _load_cached_or_fetch(name, fallback, Path(cache_dir) if cache_dir else user_cache_dir())


def _check_name(name: str) -> None:
    if name == "emnist":
        choices = [known for known in FAMILY if known.startswith("emnist/")]
        raise DataError(f"emnist is six data sets; expected one of {', '.join(choices)}")
    # Names become parts of paths.
    if not re.fullmatch(r"[\w+:-][\w.+:-]*(/[\w+:-][\w.+:-]*)*", name):
        raise DataError(
            f"data.name is {name!r}; expected a data set's name such as 'mnist' or 'emnist/letters'"
        )
    if name.startswith("emnist/") and name not in FAMILY:
        raise DataError(f"{name}: no such data set; expected one of {', '.join(FAMILY)}")


def _path(name: str | os.PathLike[str]) -> Path:
    """A path with ``~`` resolved; a home that does not exist is left as it is, where `Path` would raise."""
    return Path(os.path.expanduser(name))


def _load_cached_or_fetch(name: str, fallback: str, cache_dir: Path) -> Splits:
    notice = ""
    try:
        cached = load_cached(name, cache_dir)
        if cached:
            return cached
    except DataError as error:
        notice = f"The cache was damaged and is not used: {error}."
    try:
        splits = tfds.load_tfds(name)
    except tfds.UnreachableError as error:
        if name != "mnist" or fallback != EMBEDDED_NAME:
            hint = (
                f", or data.fallback={EMBEDDED_NAME} to make do with 5,000 digits" if name == "mnist" else ""
            )
            raise DataError(f"{error}{hint}") from error
        return _load_stand_in(f"{notice} {error}".strip())
    save_to_cache(splits, cache_dir)
    return replace(splits, notice=f"{notice} {splits.notice}".strip())


def _load_stand_in(reason: str) -> Splits:
    splits = load_embedded()
    notice = (
        f"NOT the full MNIST: {splits.train.num_examples:,} training and {splits.test.num_examples:,} test "
        f"digits of {EMBEDDED_NAME} stand in for it, because it cannot be reached ({reason}). Accuracies "
        "here do not compare with those on the full MNIST."
    )
    return replace(splits, is_fallback=True, notice=notice)
