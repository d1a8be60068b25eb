"""Source 4: pictures sorted into folders, for people's own data."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from mnist_jax.data.dataset import Splits
from mnist_jax.data.files import check_names, list_folder, readable
from mnist_jax.data.picture_set import PictureSet, load_picture_sets
from mnist_jax.data.pictures.decode import PICTURE_SUFFIXES
from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import read_regular

# A table of pictures that lie beside it has a line for each.
_MAX_TABLE_BYTES = 2**28

_LITTER = ("thumbs.db", "desktop.ini")

# What people call the folders of the splits. Of several for the test set, the first that is there is taken.
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "valid", "val", "validation")

# Hugging Face's imagefolder: a table beside the pictures, with a column for the file and one for the class.
_TABLES = ("metadata.csv", "metadata.jsonl")
_LABEL_COLUMNS = ("label", "labels", "class", "category")


def load_image_folder(own_name: str, root: Path, image_size: int = 0, group: str = "") -> Splits:
    """Loads ``root/train/<class>/*.png`` and ``root/test/<class>/*.png``, or ``root/<class>/*.png``.

    Each split may also be called by another of its usual names, or be a folder of pictures with a
    ``metadata.csv`` or ``metadata.jsonl`` that has the columns ``file_name`` and ``label``. Classes are the
    sorted names of the folders in train, as numbers where all are. Where there is no test set, one is drawn.
    ``group``: see `groups.groups_of`.

    Raises:
        DataError: if a split or a class has no pictures, a file is no readable picture, or test has a class
            that train lacks.
    """
    sets, remarks = _find_sets(root)
    source = f"image folder {readable(root)}"
    return load_picture_sets(sets, source, own_name, image_size, remarks=remarks, group=group)


def _find_sets(root: Path) -> tuple[dict[str, PictureSet], list[str]]:
    """The pictures of each split, and remarks on folders that are not used."""
    folders = find_splits(root)
    if table := _table_in(root):
        return _divide(_pictures_of_table(table)), []
    if "train" not in folders:
        spare = [entry for entry in _visible_entries(root) if entry.is_dir() and not _has_picture(entry)]
        remarks = [f"{readable(folder)} has no pictures: it is passed over" for folder in spare]
        return {"train": _pictures_by_class(root, spare)}, remarks
    sets = {"train": _read_split(folders.pop("train"))}
    unlabeled = [folder for folder in folders.values() if not has_labels(folder)]
    labeled = [folder for folder in folders.values() if folder not in unlabeled]
    if labeled:
        sets["test"] = _read_split(labeled[0])
    remarks = [f"{readable(folder)} has no labels: it is not used" for folder in unlabeled]
    remarks += [
        f"{readable(folder)} is not used: the test set is {readable(labeled[0].name)}"
        for folder in labeled[1:]
    ]
    return sets, remarks


def find_splits(root: Path) -> dict[str, Path]:
    """Returns the folders of a data set's splits by their usual names: ``train``, then those for testing."""
    by_name = {entry.name.lower(): entry for entry in _visible_entries(root) if entry.is_dir()}
    train = next((by_name[name] for name in TRAIN_NAMES if name in by_name), None)
    found = {} if train is None else {"train": train}
    return found | {name: by_name[name] for name in TEST_NAMES if name in by_name}


def has_labels(folder: Path) -> bool:
    """Whether a folder holds folders of classes, or a table that tells the class of each picture."""
    entries = _visible_entries(folder)
    return any(entry.is_dir() or entry.name in _TABLES for entry in entries) or not entries


def has_classes(folder: Path) -> bool:
    """Whether a folder is one split of an image folder: two classes with pictures, or a table of them."""
    classes = [entry for entry in _visible_entries(folder) if entry.is_dir() and _has_picture(entry)]
    return bool(_table_in(folder)) or len(classes) > 1


def _has_picture(folder: Path) -> bool:
    return any(path.suffix.lower() in PICTURE_SUFFIXES for path in _visible_entries(folder))


def _read_split(folder: Path) -> PictureSet:
    table = _table_in(folder)
    return _pictures_of_table(table) if table else _pictures_by_class(folder)


def _table_in(folder: Path) -> Path | None:
    return next((folder / name for name in _TABLES if (folder / name).is_file()), None)


def _divide(pictures: PictureSet) -> dict[str, PictureSet]:
    """Divides the pictures of one table by the split that their paths begin with, if they do."""
    first = [item.split("/")[0].lower() for item in pictures.items]
    test = next((name for name in TEST_NAMES if name in first), "")
    if not test:
        return {"train": pictures}
    rows: dict[str, list[int]] = {"train": [], "test": []}
    for number, name in enumerate(first):
        if name == test or name in TRAIN_NAMES:
            rows["test" if name == test else "train"].append(number)
    return {split: pictures.take(numbers) for split, numbers in rows.items()}


def _pictures_by_class(folder: Path, spare: Sequence[Path] = ()) -> PictureSet:
    paths: list[Path] = []
    labels: list[str] = []
    names: dict[str, Path] = {}
    for entry in _visible_entries(folder):
        if not entry.is_dir():
            if entry.suffix.lower() in PICTURE_SUFFIXES:
                raise DataError(
                    f"{readable(entry)}: a file beside the class folders; expected only folders in "
                    f"{readable(folder)}"
                )
            continue
        if entry in spare:
            continue
        pictures = _visible_entries(entry)
        odd = next((path for path in pictures if path.suffix.lower() not in PICTURE_SUFFIXES), None)
        if odd:
            raise DataError(f"{readable(odd)}: not a picture file; expected {', '.join(PICTURE_SUFFIXES)}")
        if not pictures and folder.name.lower() not in TEST_NAMES:
            raise DataError(f"{readable(entry)}: no pictures in it; expected at least one for every class")
        name = readable(entry.name)
        if names.setdefault(name, entry) != entry:
            raise DataError(f"{readable(folder)}: two classes named {name}; expected names that differ")
        paths += pictures
        labels += [name] * len(pictures)
    if not paths:
        raise DataError(f"{readable(folder)}: an empty split; expected a folder of pictures for every class")
    return PictureSet(paths, labels, [str(path.relative_to(folder)) for path in paths], readable(folder))


def _pictures_of_table(table: Path) -> PictureSet:
    try:
        text = read_regular(table, _MAX_TABLE_BYTES).decode("utf-8-sig")
        if table.suffix == ".csv":
            rows = list(csv.DictReader(text.splitlines()))
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        columns = [name for name in _LABEL_COLUMNS if rows and name in rows[0]]
        files = [str(row["file_name"]) for row in rows]
        names = [str(row[columns[0]]) for row in rows]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise DataError(
            f"{readable(table)}: cannot be read ({type(error).__name__}: {error}); expected rows with "
            f"file_name and {' or '.join(_LABEL_COLUMNS)}"
        ) from error
    check_names(names, readable(table))
    outside = next((file for file in files if file.startswith("/") or ".." in Path(file).parts), None)
    if outside is not None:
        raise DataError(
            f"{readable(table)}: names {readable(outside)}, outside of its folder; expected pictures in it"
        )
    labels = [readable(name) for name in names]
    return PictureSet([table.parent / file for file in files], labels, files, readable(table), rows)


def _visible_entries(folder: Path) -> list[Path]:
    names = list_folder(folder, "train/ and test/ with a folder of pictures for every class")
    return [folder / name for name in names if not name.startswith(".") and name.lower() not in _LITTER]
