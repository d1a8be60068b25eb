"""Arrays of images and labels become two checked splits: kinds, counts, labels, known fingerprints."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from mnist_jax.data.dataset import Dataset, Splits, check_labels, draw_stratified
from mnist_jax.data.files import check_names
from mnist_jax.data.folds import assign_folds
from mnist_jax.data.known import FAMILY, FINGERPRINTS, QMNIST
from mnist_jax.data.pictures.decode import to_fractions
from mnist_jax.data.pictures.fit import choose_size, to_uint8
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.errors import DataError

# The share of the data that becomes the test set where it comes with none.
_TEST_SHARE = 0.2
# The same share of whole groups.
_TEST_FOLDS = 5

# Labels are numbered without gaps, so there cannot be many more of them than examples.
_MOST_CLASSES = 256

# That many training images are looked at to see whether they have MNIST's form, besides all test images.
_LOOKED_AT = 1000


class Role(NamedTuple):
    """Which of the four arrays of a data set: ``split`` is train or test, ``part`` images or labels."""

    split: str
    part: str


ROLES = tuple(Role(split, part) for split in ("train", "test") for part in ("images", "labels"))


@dataclass(frozen=True)
class Part:
    """One of the four arrays."""

    where: str  # the file to name in messages
    array: np.ndarray  # images ``[N, H, W]`` or ``[N, H, W, C]``, or labels ``[N]``
    fingerprints: tuple[str, ...] = ()  # SHA-256 by which its file may be known, besides that of the array


def idx_sha256(array: np.ndarray) -> str:
    """Returns the SHA-256 that a plain IDX file of this uint8 array has, in hexadecimal."""
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    digest = hashlib.sha256(header)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def assemble(
    parts: Mapping[Role, Part],
    name: str,
    source: str,
    *,
    own_name: str = "",
    class_names: Sequence[str] = (),
    preparation: Preparation | None = None,
    image_size: int = 0,
    remarks: Sequence[str] = (),
    items: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> Splits:
    """Makes the two splits of a data set of its arrays.

    Where there is no test set, one is drawn over all classes; images of data that is not known by name are
    brought to a size that suits.

    Args:
        parts: one ``Part`` for each of ``ROLES``, or for the two of train.
        name: the data set's name; a name of MNIST's family brings its classes, any other gets as many classes
            as its labels need, named "0", "1", .... Empty for data that nobody has named.
        source: where it came from, for people to read.
        own_name: for a person's own data, its name where nobody has named it and no SHA-256 tells it.
        class_names: the classes, where they have names of their own.
        preparation: what was done to the images, where they were read from pictures.
        image_size: the longer side of the images; 0 to have it chosen.
        remarks: what is to be said about how the data was read.
        items: what each training example is called, for those that are drawn for the test set.
        groups: the name of each training example's group, where groups are known; a test set that is drawn
            is of other groups.

    Returns:
        The splits, with a notice where they look odd but may be meant.

    Raises:
        DataError: naming the file, what is wrong with it and what would be right.
    """
    parts = {role: replace(part, array=_usual_axes(role, part)) for role, part in parts.items()}
    is_mask = False
    if preparation is None:
        parts, is_mask = _to_tones(parts)
    for split in dict.fromkeys(role.split for role in parts):
        _check_counts(parts[Role(split, "images")], parts[Role(split, "labels")])
    known = [_identify(role, part, name) for role, part in parts.items()]
    _check_not_swapped_by_count(parts, name)
    is_published = len(parts) == len(ROLES) and bool(known[0]) and len(set(known)) == 1
    name = name or (known[0] if is_published else own_name)
    parts, class_names = _number_classes(parts, FAMILY[name].class_names if name in FAMILY else class_names)
    remarks = list(remarks)
    test_items: tuple[str, ...] = ()
    if Role("test", "images") not in parts:
        parts, test_items, groups, remark = _draw_test(parts, items, groups)
        remarks.append(remark)
    if preparation is None and name not in FAMILY:
        parts, preparation, remark = _fit_to_one_size(parts, image_size)
        preparation = replace(preparation, is_mask=is_mask)
        remarks.append(remark)
    train, test = (
        Dataset.from_arrays(
            parts[Role(split, "images")].array,
            parts[Role(split, "labels")].array,
            name=name,
            source=f"{source}, SHA-256 as published" if is_published else source,
            class_names=class_names,
            is_drawn=bool(own_name) and not is_published,
        )
        for split in ("train", "test")
    )
    if groups:
        train = replace(train, groups=np.unique(groups, return_inverse=True)[1].astype(np.int32))
    if preparation is None or _have_mnist_form(train, test):
        preparation = Preparation.of_data_set(name if preparation is None else "mnist", train.image_shape)
        if name not in FAMILY:
            remarks.append("the images have MNIST's form, to which other pictures will be brought")
    notice = _oddities(train, test)
    return Splits(
        train, test, notice=notice, preparation=preparation, remarks=tuple(remarks), test_items=test_items
    )


# What labels of so many dimensions may be.
_LABEL_HINTS = {
    1: ", as labels.astype(int) gives of whole ones",
    2: ", as labels.argmax(axis=1) gives of one-hot ones",
    3: "; are images and labels swapped?",
}


def _usual_axes(role: Role, part: Part) -> np.ndarray:
    """Images ``[N, H, W, C]`` or labels ``[N]``, of what people keep them as.

    Images may have a channel axis first, last or none, or be flattened squares; labels an axis too many.
    """
    array = part.array
    found = f"{array.dtype} values in {array.ndim} dimension{'s' * (array.ndim != 1)}"
    if not array.size:
        raise DataError(
            f"{part.where}: an empty split, shape {list(array.shape)}; expected at least one example"
        )
    if role.part == "labels":
        array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        if array.dtype.kind not in "iuU" or array.ndim != 1:
            hint = _LABEL_HINTS.get(array.ndim, "")
            raise DataError(f"{part.where}: {found}; expected labels, whole numbers [N]{hint}")
        return array
    if array.ndim == 2 and math.isqrt(array.shape[1]) ** 2 == array.shape[1] > 1:
        array = array.reshape(len(array), math.isqrt(array.shape[1]), -1)
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim not in (3, 4) or array.dtype.kind not in "biuf":
        hint = "; are images and labels swapped?" if array.ndim == 1 else ""
        raise DataError(f"{part.where}: {found}; expected images, uint8 [N, height, width]{hint}")
    return array if array.ndim == 4 else array[..., np.newaxis]


def _to_tones(parts: Mapping[Role, Part]) -> tuple[dict[Role, Part], bool]:
    """Images as uint8, of numbers of any type that are tones; what white is, is told by both splits.

    Returns:
        the parts, and whether 1 is white in images of whole numbers.
    """
    images = {role: part for role, part in parts.items() if role.part == "images"}
    highest = max(float(part.array.max()) for part in images.values())
    toned = {}
    for role, part in images.items():
        if part.array.dtype == np.uint8 and highest != 1:
            continue
        try:
            toned[role] = replace(part, array=to_uint8(to_fractions(part.array, highest)))
        except DataError as error:
            raise DataError(f"{part.where}: {part.array.dtype} values, {error}") from error
    is_mask = highest == 1 and all(part.array.dtype.kind in "iu" for part in images.values())
    return {**parts, **toned}, is_mask


def _check_counts(images: Part, labels: Part) -> None:
    if len(images.array) != len(labels.array):
        raise DataError(
            f"{images.where} holds {len(images.array)} images but {labels.where} {len(labels.array)} labels; "
            "expected one label an image"
        )


def _identify(role: Role, part: Part, name: str) -> str:
    """The data set that this content is known to belong to, or ""; refuses what claims to be another."""
    fingerprints = [*part.fingerprints, *_array_fingerprints(part.array)]
    known = next((FINGERPRINTS[sha] for sha in fingerprints if sha in FINGERPRINTS), None)
    if known is None or name == QMNIST:  # whose training labels are MNIST's
        return ""
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
    return known_name


def _array_fingerprints(array: np.ndarray) -> tuple[str, ...]:
    if array.ndim == 4:
        return (idx_sha256(array[..., 0]),) if array.shape[3] == 1 else ()
    is_small = array.dtype.kind in "iu" and 0 <= array.min() <= array.max() < 256
    return (idx_sha256(array.astype(np.uint8)),) if is_small else ()


def _check_not_swapped_by_count(parts: Mapping[Role, Part], name: str) -> None:
    if name not in FAMILY or len(parts) < len(ROLES):
        return
    train, test = (parts[Role(split, "images")] for split in ("train", "test"))
    published = FAMILY[name].num_train, FAMILY[name].num_test
    if (len(test.array), len(train.array)) == published != (len(train.array), len(test.array)):
        raise DataError(
            f"{train.where} holds {len(train.array)} images and {test.where} {len(test.array)}; expected "
            f"{published[0]} and {published[1]}: are train and test swapped?"
        )


def _number_classes(
    parts: Mapping[Role, Part], class_names: Sequence[str]
) -> tuple[dict[Role, Part], Sequence[str]]:
    """Checks labels against the classes, which are as many as the labels need where they are not given."""
    labels = {role: part for role, part in parts.items() if role.part == "labels"}
    if not class_names and all(part.array.dtype.kind == "U" for part in labels.values()):
        class_names = sort_names({str(label) for part in labels.values() for label in part.array})
        numbers = {name: number for number, name in enumerate(class_names)}
        labels = {
            role: replace(part, array=np.array([numbers[str(label)] for label in part.array]))
            for role, part in labels.items()
        }
    check_names(class_names, next(iter(parts.values())).where)
    most = max(_MOST_CLASSES, sum(len(part.array) for part in labels.values()))
    for part in labels.values():
        if part.array.dtype.kind == "U":
            raise DataError(f"{part.where}: labels are names; expected whole numbers as in the other split")
        check_labels(part.array, len(class_names) or most, part.where)
    if not class_names:
        class_names = tuple(map(str, range(1 + max(int(part.array.max()) for part in labels.values()))))
    return {**parts, **labels}, class_names


def sort_names(names: set[str]) -> tuple[str, ...]:
    """Sorts the names of classes: as numbers where all of them are."""
    are_numbers = all(name.isdecimal() and name.isascii() for name in names)
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if are_numbers else None))


def _draw_test(
    parts: Mapping[Role, Part], items: Sequence[str], groups: Sequence[str]
) -> tuple[dict[Role, Part], tuple[str, ...], list[str], str]:
    """Splits a test set off; returns what it is made of, the groups of the rest and a remark, too."""
    images, labels = parts[Role("train", "images")], parts[Role("train", "labels")]
    num_examples, num_classes = len(labels.array), len(np.unique(labels.array))
    num_test = min(max(num_classes, round(_TEST_SHARE * num_examples)), num_examples - num_classes)
    if num_test < 1:
        raise DataError(
            f"{images.where}: {num_examples} pictures in {num_classes} classes and no test set; expected "
            "more than one of a class, so that a test set can be drawn"
        )
    how = "over all classes"
    if groups:
        try:
            folds = assign_folds(labels.array, np.unique(groups, return_inverse=True)[1], None, _TEST_FOLDS)
        except ValueError as error:
            raise DataError(
                f"{images.where}: no test set, and {error}; expected more groups, or a test set"
            ) from None
        drawn, how = np.flatnonzero(folds == 0), "of groups that are in it alone"
        num_test = len(drawn)
    else:
        drawn = draw_stratified(labels.array, num_test)
    rest = np.setdiff1d(np.arange(num_examples), drawn)
    divided = {
        Role(split, part.part): replace(content, array=content.array[indices])
        for split, indices in (("train", rest), ("test", drawn))
        for part, content in parts.items()
    }
    of_all = f"{num_test:,} of {num_examples:,} examples"
    remark = f"the data has no test set: {of_all} are drawn for it, {how}"
    named = tuple(items[i] if items else f"row {i}" for i in drawn.tolist())
    return divided, named, [groups[i] for i in rest.tolist()] if groups else [], remark


def _fit_to_one_size(parts: dict[Role, Part], image_size: int) -> tuple[dict[Role, Part], Preparation, str]:
    """Brings the images of arrays to a size that suits; returns how, and a remark on it, too."""
    for split in ("train", "test"):
        role = Role(split, "images")
        before = parts[role].array
        if before.shape[3] not in (1, 3):
            raise DataError(
                f"{parts[role].where}: {before.shape[3]} channels; expected 1 (grayscale) or 3 (RGB)"
            )
        fitted, preparation = fit_images(before, image_size)
        parts = {**parts, role: replace(parts[role], array=fitted)}
    old, new = ("x".join(map(str, array.shape[1:3])) for array in (before, fitted))
    done = "taken as they are" if old == new else f"resized to {new}"
    return parts, preparation, f"images of {old} (height x width) are {done}, not inverted"


def fit_images(
    images: UInt8[np.ndarray, "num_examples height width channels"], image_size: int
) -> tuple[UInt8[np.ndarray, "num_examples out_height out_width channels"], Preparation]:
    """Brings images to a size that suits (`fit.choose_size`), where they have another."""
    height, width, channels = images.shape[1:]
    size = choose_size(np.array([[height, width]]), image_size)
    preparation = Preparation("resized", (*size, channels))
    if size != (height, width):
        images = np.stack([preparation.apply(_fraction(image)) for image in images])
    return images, preparation


def _fraction(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / np.float32(255)


def _have_mnist_form(train: Dataset, test: Dataset) -> bool:
    """Whether MNIST's preparation would leave all test images, and those of train, as they are."""
    preparation = Preparation.of_data_set("mnist", train.image_shape)
    if preparation.form != "mnist":
        return False
    for image in (*train.images[:_LOOKED_AT], *test.images):
        try:
            if not np.array_equal(preparation.apply(_fraction(image)), image):
                return False
        except DataError:
            return False
    return True


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
