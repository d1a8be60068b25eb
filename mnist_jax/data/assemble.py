"""Four arrays become two checked splits: kinds, counts, labels, known fingerprints."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mnist_jax.data.dataset import Dataset, Splits, check_labels
from mnist_jax.data.known import FAMILY, FINGERPRINTS
from mnist_jax.errors import DataError


class Role(NamedTuple):
    """Which of the four arrays of a data set: ``split`` is train or test, ``part`` images or labels."""

    split: str
    part: str


ROLES = tuple(Role(split, part) for split in ("train", "test") for part in ("images", "labels"))


@dataclass(frozen=True)
class Part:
    """One of the four arrays.

    Attributes:
        where: the file to name in messages.
        array: images uint8 ``[N, H, W]`` or ``[N, H, W, C]``, or labels, any integer dtype, ``[N]``.
        fingerprints: every SHA-256 by which the content may be known, see ``known.FINGERPRINTS``.
    """

    where: str
    array: np.ndarray
    fingerprints: tuple[str, ...] = ()


def idx_sha256(array: np.ndarray) -> str:
    """Returns the SHA-256 that a plain IDX file of this uint8 array has, in hexadecimal."""
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    digest = hashlib.sha256(header)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def assemble(parts: Mapping[Role, Part], name: str, source: str) -> Splits:
    """Makes the two splits of a data set of its four arrays.

    Args:
        parts: one ``Part`` for each of ``ROLES``.
        name: the data set's name; a name of MNIST's family brings its classes, any other gets as many classes
            as its labels need, named "0", "1", ....
        source: where it came from, for people to read.

    Returns:
        The splits, with a notice where they look odd but may be meant.

    Raises:
        DataError: naming the file, what is wrong with it and what would be right.
    """
    for role, part in parts.items():
        _check_kind(role, part)
    for split in ("train", "test"):
        _check_counts(parts[Role(split, "images")], parts[Role(split, "labels")])
    published = all([_check_identity(role, part, name) for role, part in parts.items()])
    _check_not_swapped_by_count(parts, name)

    labels = {split: parts[Role(split, "labels")] for split in ("train", "test")}
    if name in FAMILY:
        class_names = FAMILY[name].class_names
    else:
        class_names = tuple(map(str, range(1 + max(int(part.array.max()) for part in labels.values()))))
    for part in labels.values():
        check_labels(part.array, len(class_names), part.where)
    if published:
        source = f"{source}, SHA-256 as published"
    train, test = (
        Dataset.from_arrays(
            _with_channels(parts[Role(split, "images")].array),
            labels[split].array,
            name=name,
            source=source,
            class_names=class_names,
        )
        for split in ("train", "test")
    )
    return Splits(train, test, notice=_oddities(train, test))


def _check_kind(role: Role, part: Part) -> None:
    array = part.array
    found = f"{array.dtype} values in {array.ndim} dimension{'s' * (array.ndim != 1)}"
    if role.part == "images" and (array.dtype != np.uint8 or array.ndim not in (3, 4)):
        hint = "; are images and labels swapped?" if array.ndim == 1 else ""
        raise DataError(f"{part.where}: {found}; expected images, uint8 [N, height, width]{hint}")
    if role.part == "labels" and (not np.issubdtype(array.dtype, np.integer) or array.ndim != 1):
        hint = "; are images and labels swapped?" if array.ndim == 3 else ""
        raise DataError(f"{part.where}: {found}; expected labels, whole numbers [N]{hint}")
    if not array.size:
        raise DataError(
            f"{part.where}: an empty split, shape {list(array.shape)}; expected at least one example"
        )


def _check_counts(images: Part, labels: Part) -> None:
    if len(images.array) != len(labels.array):
        raise DataError(
            f"{images.where} holds {len(images.array)} images but {labels.where} {len(labels.array)} labels; "
            "expected one label an image"
        )


def _check_identity(role: Role, part: Part, name: str) -> bool:
    """Refuses content that is known to be something else; says whether it is known to be what it claims."""
    known = next((FINGERPRINTS[sha] for sha in part.fingerprints if sha in FINGERPRINTS), None)
    if known is None:
        return False
    known_name, *known_role = known
    if name in FAMILY and known_name != name:
        raise DataError(
            f"{part.where}: its SHA-256 is that of {known_name}'s {' '.join(known_role)}, not of {name}'s; "
            f"expected {name}'s files (or data.name={known_name})"
        )
    if tuple(known_role) != role:
        raise DataError(
            f"{part.where}: its SHA-256 is that of {known_name}'s {' '.join(known_role)}; expected the "
            f"{' '.join(role)}: are train and test swapped?"
        )
    return known_name == name


def _check_not_swapped_by_count(parts: Mapping[Role, Part], name: str) -> None:
    if name not in FAMILY:
        return
    train, test = (parts[Role(split, "images")] for split in ("train", "test"))
    published = FAMILY[name].num_train, FAMILY[name].num_test
    if (len(test.array), len(train.array)) == published:
        raise DataError(
            f"{train.where} holds {len(train.array)} images and {test.where} {len(test.array)}; expected "
            f"{published[0]} and {published[1]}: are train and test swapped?"
        )


def _with_channels(images: np.ndarray) -> np.ndarray:
    return images if images.ndim == 4 else images[..., np.newaxis]


def _oddities(train: Dataset, test: Dataset) -> str:
    """What may be meant, but is worth a person's look."""
    notes = []
    if test.num_examples > train.num_examples:
        notes.append(f"more test ({test.num_examples}) than train ({train.num_examples}) images: swapped?")
    if train.sha256 == test.sha256:
        notes.append("train and test are the same data: the test accuracy says nothing about unseen images.")
    if (train.labels == train.labels[0]).all():
        notes.append(f"every training label is {train.labels[0]}.")
    return f"{train.name} ({train.source}): {' '.join(notes)}" if notes else ""
