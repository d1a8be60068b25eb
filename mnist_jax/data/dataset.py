"""What every source hands over: checked arrays with a name, an origin and a fingerprint."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer, UInt8

from mnist_jax.data.folds import assign_folds
from mnist_jax.data.grouped_split import draw_groups
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.errors import DataError


def content_sha256(
    images: UInt8[np.ndarray, "num_examples height width channels"], labels: Int32[np.ndarray, "num_examples"]
) -> str:
    """Returns the SHA-256 of a data set's content, the same whichever source the content came through.

    Hashed are, in this order: the line ``uint8 N H W C``, the images' bytes (C order), the line ``int32 N``
    and the labels' bytes (little-endian). The result is 64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"uint8 {' '.join(map(str, images.shape))}\n".encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(f"int32 {len(labels)}\n".encode())
    digest.update(np.ascontiguousarray(labels, dtype="<i4").data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split of an image data set, checked when it is made.

    Attributes:
        images: uint8 ``[N, H, W, C]``, 0 to 255; C is 1 (grayscale) or 3 (RGB).
        labels: int32 ``[N]``, each an index into ``class_names``.
        name: the data set's name, as ``config.data.name`` spells it.
        source: where it came from, for people to read.
        sha256: ``content_sha256(images, labels)``.
        class_names: one name for each label.
        is_drawn: whether `take` draws over all classes, as people's own data asks, which may be sorted, or
            takes the first examples.
        groups: int32 ``[N]``, equal for examples of one origin (a writer), or None where it is not known.
        strata: int32 ``[N]``, the kind of each group (a series of forms), or None.

    Raises:
        DataError: if a dtype, a shape, a count or a label does not fit, or nothing is in it.
    """

    # Shapes and dtypes are checked below, with a message of ours, so they are no annotations here.
    images: np.ndarray
    labels: np.ndarray
    name: str
    source: str
    sha256: str
    class_names: tuple[str, ...]
    is_drawn: bool = False
    groups: np.ndarray | None = None
    strata: np.ndarray | None = None

    def __post_init__(self) -> None:
        where = f"{self.name} ({self.source})"
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DataError(f"{where}: images are {_described(self.images)}; expected uint8 [N, H, W, C]")
        if self.labels.dtype != np.int32 or self.labels.ndim != 1:
            raise DataError(f"{where}: labels are {_described(self.labels)}; expected int32 [N]")
        if len(self.images) != len(self.labels):
            raise DataError(
                f"{where}: {len(self.images)} images but {len(self.labels)} labels; "
                "expected one label an image"
            )
        if not self.images.size:
            raise DataError(
                f"{where}: an empty split, {_described(self.images)}; expected at least one image"
            )
        if self.image_shape[-1] not in (1, 3):
            raise DataError(f"{where}: {self.image_shape[-1]} channels; expected 1 (grayscale) or 3 (RGB)")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise DataError(f"{where}: sha256 is {self.sha256!r}; expected 64 hexadecimal digits")
        check_labels(self.labels, self.num_classes, where)

    @classmethod
    def from_arrays(
        cls,
        images: UInt8[np.ndarray, "num_examples height width channels"],
        labels: Integer[np.ndarray, "num_examples"],
        *,
        name: str,
        source: str,
        class_names: Sequence[str],
        is_drawn: bool = False,
    ) -> "Dataset":
        """Makes a data set of arrays in memory: labels become int32, the fingerprint is computed.

        Raises:
            DataError: as the class says.
        """
        labels = labels.astype(np.int32)
        return cls(images, labels, name, source, content_sha256(images, labels), tuple(class_names), is_drawn)

    @property
    def num_examples(self) -> int:
        """N, the number of images."""
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels), in pixels."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def num_classes(self) -> int:
        """The number of classes, whether or not each has an image in this split."""
        return len(self.class_names)

    def take(self, num_examples: int) -> "Dataset":
        """Returns the first ``num_examples`` examples, or as many drawn over all classes (``is_drawn``).

        Raises:
            DataError: if that is none, or more than there are.
        """
        if not 1 <= num_examples <= self.num_examples:
            raise DataError(
                f"{self.name} ({self.source}): cannot take {num_examples} of {self.num_examples} examples; "
                f"expected 1 to {self.num_examples}"
            )
        if self.is_drawn and num_examples < self.num_examples:
            return self._part(draw_stratified(self.labels, num_examples))
        return self._part(slice(num_examples))

    def hold_out(self, num_examples: int, how: str) -> tuple["Dataset", "Dataset"]:
        """Splits examples off for validation.

        Args:
            num_examples: how many.
            how: "writers" for whole groups, see `draw_groups`; "classes", drawn with the classes in
                proportion; "last", the last ones.

        Returns:
            (all but these, these ``num_examples``).

        Raises:
            DataError: if either part would be empty, or the groups are not known or do not add up.
        """
        if not 1 <= num_examples < self.num_examples:
            raise DataError(
                f"{self.name} ({self.source}): cannot hold out {num_examples} of {self.num_examples} "
                f"examples; expected 1 to {self.num_examples - 1}, so that some are left to train on"
            )
        if how == "writers":
            held_out = self._draw_groups(num_examples)
        elif how == "last":
            held_out = np.arange(self.num_examples - num_examples, self.num_examples)
        else:
            held_out = draw_stratified(self.labels, num_examples)
        return self._part(np.setdiff1d(np.arange(self.num_examples), held_out)), self._part(held_out)

    def assign_folds(self, num_folds: int, how: str) -> Int64[np.ndarray, "num_examples"]:
        """Assigns examples to folds, from 0: whole groups for "writers", over all classes for "classes".

        Raises:
            DataError: the groups are not known, or there are too few of them or of the images.
        """
        if how == "writers":
            self._check_groups()
        groups, strata = (self.groups, self.strata) if how == "writers" else (None, None)
        try:
            return assign_folds(self.labels, groups, strata, num_folds)
        except ValueError as error:
            raise DataError(f"{self.name} ({self.source}): {error}") from None

    def split_off(self, held_out: Bool[np.ndarray, "num_examples"]) -> tuple["Dataset", "Dataset"]:
        """Returns (all but these, these)."""
        return self._part(np.flatnonzero(~held_out)), self._part(np.flatnonzero(held_out))

    def has_groups_of(self, num_examples: int) -> bool:
        """Whether "writers" can hold out that many examples: groups are known, and some add up to it."""
        try:
            self._draw_groups(num_examples)
        except DataError:
            return False
        return True

    def _check_groups(self) -> None:
        if self.groups is None:
            raise DataError(
                f"{self.name} ({self.source}): who wrote what is not known; expected data.validation=classes"
            )

    def _draw_groups(self, num_examples: int) -> np.ndarray:
        self._check_groups()
        assert self.groups is not None
        try:
            return draw_groups(self.labels, self.groups, self.strata, num_examples)
        except ValueError as error:
            raise DataError(f"{self.name} ({self.source}): {error}; or data.validation=classes") from None

    def _part(self, indices: np.ndarray | slice) -> "Dataset":
        images, labels = self.images[indices], self.labels[indices]
        return replace(
            self,
            images=images,
            labels=labels,
            sha256=content_sha256(images, labels),
            groups=None if self.groups is None else self.groups[indices],
            strata=None if self.strata is None else self.strata[indices],
        )


@dataclass(frozen=True, eq=False)
class Splits:
    """The train and the test split of one data set.

    Attributes:
        train: what to train on.
        test: what to report on.
        is_fallback: True where this is the embedded stand-in for a data set that could not be reached.
        notice: what a person must be told about the data, or "".
        preparation: what was done to each picture, and is to be done to every other before this data's
            network sees it; by default that of the data set's name.
        remarks: how the data was read, prepared and split, where it was not simply taken as it is.
        test_items: for a test set that was drawn from the data, what each example is called there (a file, a
            row); else empty.

    Raises:
        DataError: if the two differ in image shape or in classes.
    """

    train: Dataset
    test: Dataset
    is_fallback: bool = False
    notice: str = ""
    preparation: Preparation = None  # type: ignore[assignment]  # set below
    remarks: tuple[str, ...] = ()
    test_items: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.preparation is None:
            chosen = Preparation.of_data_set(self.train.name, self.train.image_shape)
            object.__setattr__(self, "preparation", chosen)
        if self.train.image_shape != self.test.image_shape:
            raise DataError(
                f"{self.train.name} ({self.train.source}): train images are {_size(self.train)} but test "
                f"images {_size(self.test)} (height x width x channels); expected one size"
            )
        if self.train.class_names != self.test.class_names:
            raise DataError(
                f"{self.train.name} ({self.train.source}): train has the classes "
                f"{list(self.train.class_names)} but test {list(self.test.class_names)}; expected the same"
            )


def check_labels(
    labels: Integer[np.ndarray, "num_examples"], num_classes: int, where: str, first_label: int = 0
) -> None:
    """Checks that every label is one of ``num_classes`` consecutive numbers.

    Raises:
        DataError: naming the first label that is none.
    """
    last_label = first_label + num_classes - 1
    wrong = np.flatnonzero((labels < first_label) | (labels > last_label))
    if len(wrong):
        raise DataError(
            f"{where}: label {labels[wrong[0]]} at position {wrong[0]} is out of range; "
            f"expected {first_label} to {last_label}"
        )


def draw_stratified(
    labels: Integer[np.ndarray, "num_examples"], num_drawn: int, seed: int = 0
) -> Int64[np.ndarray, "num_drawn"]:
    """Draws examples over all classes: one of each first, then by their shares of the data.

    Args:
        labels: int ``[N]``.
        num_drawn: how many, at most N. A class' only example is drawn last.
        seed: decides which. Not that of a run: runs with several seeds are compared on the same examples.

    Returns:
        int64 ``[num_drawn]``, indices into ``labels``, rising.
    """
    rng = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        place[members[0]] = -1 if len(members) > 1 else 2
    return np.sort(np.lexsort((rng.random(len(labels)), place))[:num_drawn])


def interleave_classes(labels: Integer[np.ndarray, "num_examples"]) -> Int64[np.ndarray, "num_examples"]:
    """Returns the order that spreads every class evenly over the data, as indices, without drawing lots.

    Data that comes sorted by class would otherwise give a held-out end of the last classes alone. The k-th
    of a class' n examples goes to the place (k + 1/2) / n of the way; ties go by label.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((labels, place))


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _size(dataset: Dataset) -> str:
    return "x".join(map(str, dataset.image_shape))
