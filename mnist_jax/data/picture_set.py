"""People's own pictures with labels, wherever they come from, brought to one size as a data set."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mnist_jax.data.assemble import Part, Role, assemble, sort_names
from mnist_jax.data.dataset import Splits, interleave_classes
from mnist_jax.data.files import readable
from mnist_jax.data.groups import groups_of
from mnist_jax.data.pictures.decode import MAX_PICTURE_BYTES, find_white
from mnist_jax.data.pictures.fit import choose_size
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.tasks import QUESTIONS
from mnist_jax.data.pictures.worker import shared_worker
from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import read_regular

# Transparent pictures that are looked at to see what they are to be laid on.
_LOOKED_AT = 50


@dataclass(frozen=True)
class PictureSet:
    """The pictures of one split."""

    sources: Sequence[Path | bytes]  # for each its path, or the bytes of its file
    labels: Sequence[str]  # for each the name of its class
    items: Sequence[str]  # for each what it is called in messages and lists, below ``where``
    where: str  # the folder or file that they are in
    rows: Sequence[Mapping[str, Any]] = ()  # for each that of the table that tells of it, if there is one

    def take(self, numbers: Sequence[int]) -> "PictureSet":
        """Returns the pictures of these numbers."""
        return PictureSet(
            [self.sources[i] for i in numbers],
            [self.labels[i] for i in numbers],
            [self.items[i] for i in numbers],
            self.where,
            [self.rows[i] for i in numbers] if self.rows else (),
        )


def load_picture_sets(
    sets: Mapping[str, PictureSet],
    source: str,
    own_name: str,
    image_size: int,
    *,
    class_names: Sequence[str] = (),
    remarks: Sequence[str] = (),
    group: str = "",
) -> Splits:
    """Reads the pictures of a data set and prepares them all alike.

    They are gray if every one of them is, by content, else RGB. Each split is ordered so that its classes are
    evenly spread (``dataset.interleave_classes``).

    There are pictures of ``train``, and of ``test`` unless that is to be drawn from them. The classes are by
    default those of train, sorted. ``group`` says what tells the groups of the training pictures
    (`groups.groups_of`), if anything does. For the rest see `assemble`.

    Raises:
        DataError: a file is no readable picture, test has a class that train lacks, or there are no such
            groups.
    """
    train = sets["train"]
    groups = groups_of(group, train.items, train.rows, train.where) if group else []
    class_names = class_names or sort_names(set(sets["train"].labels))
    for pictures in sets.values():
        if not pictures.sources:
            raise DataError(f"{pictures.where}: an empty split; expected at least one picture")
        unknown = sorted(set(pictures.labels) - set(class_names))
        if unknown:
            raise DataError(
                f"{pictures.where}: {unknown[0]} is a class that train lacks; "
                f"expected one of {', '.join(class_names)}"
            )
    preparation, said = _choose_preparation(sets, image_size)
    numbers = {name: number for number, name in enumerate(class_names)}
    images, labels, items = {}, {}, {}
    for split, pictures in sets.items():
        numbered = np.array([numbers[label] for label in pictures.labels])
        order = interleave_classes(numbered)
        labels[split], items[split] = numbered[order], [pictures.items[i] for i in order]
        prepare = functools.partial(_prepare, preparation)
        if split == "train" and groups:
            groups = [groups[i] for i in order]
        images[split] = np.stack([_of_file(prepare, pictures, i) for i in order])
    if all(array.max() <= 1 for array in images.values()):
        preparation = replace(preparation, is_mask=True)
        images = {split: array * np.uint8(255) for split, array in images.items()}
    if all((array[..., :1] == array).all() for array in images.values()):
        images = {split: array[..., :1] for split, array in images.items()}
        height, width, _ = preparation.image_shape
        preparation = replace(preparation, image_shape=(height, width, 1))
    parts = {
        Role(split, part): Part(sets[split].where, arrays[split])
        for split in sets
        for part, arrays in (("images", images), ("labels", labels))
    }
    return assemble(
        parts,
        "",
        source,
        own_name=own_name,
        class_names=class_names,
        preparation=preparation,
        remarks=(*remarks, *said),
        items=items["train"],
        groups=groups,
    )


def _choose_preparation(sets: Mapping[str, PictureSet], image_size: int) -> tuple[Preparation, list[str]]:
    """Looks at all pictures and says what is to be done to them, in color for now."""
    look_at = {question: functools.partial(shared_worker().look, question) for question in QUESTIONS}
    facts = {
        split: [_of_file(look_at["read_facts"], pictures, i) for i in range(len(pictures.sources))]
        for split, pictures in sets.items()
    }
    size = choose_size(np.array([fact[:2] for fact in facts["train"]]), image_size)
    sizes = sorted({fact[:2] for of_split in facts.values() for fact in of_split})
    smallest, largest = ("x".join(map(str, fact)) for fact in (sizes[0], sizes[-1]))
    of_sizes = smallest if len(sizes) == 1 else f"{len(sizes)} sizes from {smallest} to {largest}"
    done = (
        "taken as they are" if sizes == [size] else f"resized to {size[0]}x{size[1]}, aspect kept by padding"
    )
    remarks = [f"pictures of {of_sizes} (height x width) are {done}, not inverted"]
    deep, transparent = (
        [(sets[split], i) for split in sets for i, fact in enumerate(facts[split]) if getattr(fact, kind)]
        for kind in ("is_deep", "has_transparency")
    )
    white, background = 65535.0, 1.0
    if deep:
        tones = [_of_file(look_at["highest_tone"], *picture) for picture in deep]
        white = find_white(max(tones))
        remarks.append(f"white is {white:g} in pictures of more than 8 bits")
    if transparent:
        # On white, unless most of them are drawn for something dark.
        tones = [_of_file(look_at["background_of"], *picture) for picture in transparent[:_LOOKED_AT]]
        background = float(np.median(tones) >= 0.5)
        remarks.append(f"transparent pixels are laid on {'white' if background else 'black'}")
    return Preparation("resized", (*size, 3), white=white, background=background), remarks


def _prepare(preparation: Preparation, source: Path | bytes) -> np.ndarray:
    try:
        content = read_regular(source, MAX_PICTURE_BYTES) if isinstance(source, Path) else source
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})") from error
    return shared_worker().prepare(content, preparation)


def _of_file(function: Callable[[Any], Any], pictures: PictureSet, number: int) -> Any:
    """Calls a function on a picture's file; a fault of the file is told with its name."""
    source = pictures.sources[number]
    try:
        return function(source)
    except DataError as error:
        where = (
            readable(source) if isinstance(source, Path) else f"{pictures.where}, {pictures.items[number]}"
        )
        reason = str(error).removeprefix(f"{source!s}: ").removeprefix("the picture: ")
        raise DataError(
            f"{where}: cannot be read as a picture ({reason}); expected an intact file"
        ) from error
