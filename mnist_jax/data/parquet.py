"""A Hugging Face data set as its parquet files: pictures in ``image.bytes``, classes in ``label``."""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_jax.data.dataset import Splits
from mnist_jax.data.files import readable
from mnist_jax.data.image_folder import TEST_NAMES, TRAIN_NAMES
from mnist_jax.data.picture_set import PictureSet, load_picture_sets
from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import check_unpacked, open_regular

if TYPE_CHECKING:
    import pyarrow

_ROWS_AT_A_TIME = 256

_IMAGE_COLUMNS = ("image", "img", "picture")
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "category", "target", "digit")


def find_parquet(folder: Path) -> dict[str, list[Path]]:
    """Returns the parquet files at most two folders down, by split; empty where there are none.

    The split is told by a file's name (``train-00000-of-00001.parquet``) or that of its folder; a file of
    another name is taken for train.
    """
    found: dict[str, list[Path]] = {}
    paths = {*folder.glob("*.parquet"), *folder.glob("*/*.parquet"), *folder.glob("*/*/*.parquet")}
    for path in sorted(path for path in paths if path.is_file()):
        words = [*re.split("[^a-z]+", path.stem.lower()), path.parent.name.lower()]
        test = next((name for name in TEST_NAMES if name in words), "")
        found.setdefault(test or TRAIN_NAMES[0], []).append(path)
    return found


def load_parquet(
    own_name: str, folder: Path, files: dict[str, list[Path]], image_size: int = 0, group: str = ""
) -> Splits:
    """Loads the parquet files that `find_parquet` found in a folder; ``group``: see `groups.groups_of`.

    Raises:
        DataError: pyarrow is not installed, a file is damaged or has no pictures and labels, or as
            `load_picture_sets`.
    """
    if "train" not in files:
        raise DataError(f"{readable(folder)}: no parquet file for train; expected train-*.parquet")
    test = next((name for name in TEST_NAMES if name in files), None)
    used = {"train": "train"} | ({"test": test} if test else {})
    tables = {split: [_read(path) for path in files[name]] for split, name in used.items()}
    class_names = _class_names(tables["train"][0])
    remarks = [f"the files of {name} are not used" for name in files if name not in ("train", test)]
    if test and not all(_has_labels(table) for table in tables["test"]):
        del tables["test"]
        remarks.append(f"the files of {test} have no labels and are not used")
    sets = {split: _picture_set(parts, folder, class_names) for split, parts in tables.items()}
    return load_picture_sets(
        sets,
        f"parquet files in {readable(folder)}",
        own_name,
        image_size,
        class_names=class_names,
        remarks=remarks,
        group=group,
    )


def _read(path: Path) -> "pyarrow.Table":
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{readable(path)}: reading it needs pyarrow; pip install pyarrow") from error
    try:
        with open_regular(path) as file:
            num_stored = os.fstat(file.fileno()).st_size
            parquet = pyarrow.parquet.ParquetFile(file)
            batches, num_bytes = [], 0
            # Piece by piece: a picture is stored once, however many rows have it.
            for batch in parquet.iter_batches(_ROWS_AT_A_TIME):
                batches.append(batch)
                num_bytes += batch.nbytes
                check_unpacked(num_bytes, num_stored)
            return pyarrow.Table.from_batches(batches, parquet.schema_arrow)
    except (OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise DataError(f"{readable(path)}: cannot be read ({reason}); expected a parquet file") from error


def _class_names(table: "pyarrow.Table") -> list[str]:
    """The names of the classes that Hugging Face keeps beside the columns; empty where there are none."""
    try:
        features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        return [readable(name) for name in features[_column(table, _LABEL_COLUMNS)]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def _has_labels(table: "pyarrow.Table") -> bool:
    """Whether a table has a label in every row; -1 is Hugging Face's for none."""
    column = _column(table, _LABEL_COLUMNS)
    return bool(column) and not any(value in (None, -1) for value in table.column(column).to_pylist())


def _column(table: "pyarrow.Table", names: tuple[str, ...]) -> str:
    return next((name for name in names if name in table.column_names), "")


def _picture_set(tables: list["pyarrow.Table"], folder: Path, class_names: list[str]) -> PictureSet:
    sources: list[Path | bytes] = []
    labels: list[str] = []
    rows: list[dict[str, Any]] = []
    for table in tables:
        image, label = _column(table, _IMAGE_COLUMNS), _column(table, _LABEL_COLUMNS)
        if not image or not label:
            raise DataError(
                f"{readable(folder)}: parquet columns {', '.join(table.column_names)}; expected image with "
                "the bytes of picture files, and label"
            )
        sources += [_content(value, folder) for value in table.column(image).to_pylist()]
        labels += [
            class_names[value] if class_names and isinstance(value, int) else readable(str(value))
            for value in table.column(label).to_pylist()
        ]
        rows += table.drop_columns([image]).to_pylist()
    return PictureSet(sources, labels, [f"row {i}" for i in range(len(sources))], readable(folder), rows)


def _content(value: Any, folder: Path) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise DataError(f"{readable(folder)}: a picture without image.bytes; expected the bytes of its file")
    return content
