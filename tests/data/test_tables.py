"""Pictures as rows of CSV files and of parquet files."""

import gzip
import io
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data.folder import load_folder
from mnist_jax.data.pictures.table import read_table
from mnist_jax.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 16, 16), np.uint8)
LABELS = np.arange(40) % 4


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "digits of my own"
    path.mkdir()
    return path


def csv(images=IMAGES, labels=LABELS, heading=True, separator=",", label="label") -> str:
    columns = images.reshape(len(images), -1)
    names = [f"pixel{i}" for i in range(columns.shape[1])]
    rows = [list(map(str, row)) for row in columns]
    if labels is not None:
        names = [label, *names]
        rows = [[str(name), *row] for name, row in zip(labels, rows, strict=True)]
    return "\n".join(separator.join(row) for row in ([names] if heading else []) + rows) + "\n"


def fault(folder) -> str:
    with pytest.raises(DataError) as raised:
        load_folder("mnist", folder)
    assert "\n" not in str(raised.value) and "expected" in str(raised.value)
    return str(raised.value)


def test_kaggles_table_is_trained_from_and_a_test_set_drawn(folder):
    (folder / "train.csv").write_text(csv())
    (folder / "test.csv").write_text(csv(labels=None))
    (folder / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    splits = load_folder("mnist", folder)
    assert splits.train.name == "digits of my own"
    assert splits.train.image_shape == (16, 16, 1) and splits.train.class_names == ("0", "1", "2", "3")
    assert (splits.train.num_examples, splits.test.num_examples) == (32, 8)
    assert np.bincount(splits.test.labels).tolist() == [2, 2, 2, 2]
    rows = [int(item.removeprefix("row ")) for item in splits.test_items]
    np.testing.assert_array_equal(splits.test.images[..., 0], IMAGES[rows])
    np.testing.assert_array_equal(splits.test.labels, LABELS[rows])
    assert any("test.csv has no labels" in remark for remark in splits.remarks)


@pytest.mark.parametrize(
    "names", [("mnist_train.csv", "mnist_test.csv"), ("fashion-mnist_train.csv", "fashion-mnist_test.csv")]
)
@pytest.mark.parametrize("options", [{}, {"heading": False}, {"separator": ";"}, {"label": "Class"}])
def test_two_labeled_tables(folder, names, options):
    for name, part in zip(names, (slice(0, 30), slice(30, 40)), strict=True):
        (folder / name).write_text("\ufeff" + csv(IMAGES[part], LABELS[part], **options))
    splits = load_folder("mnist", folder)
    np.testing.assert_array_equal(splits.train.images[..., 0], IMAGES[:30])
    np.testing.assert_array_equal(splits.test.labels, LABELS[30:])
    assert splits.test_items == ()


def test_names_for_labels_and_a_gzipped_table(folder):
    names = np.array(["ant", "bee", "cow", "dog"])[LABELS]
    (folder / "train.csv.gz").write_bytes(gzip.compress(csv(labels=names).encode()))
    assert load_folder("mnist", folder).train.class_names == ("ant", "bee", "cow", "dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (csv(labels=None), "no column of labels; expected one named label"),
        (csv(IMAGES[:, :, :15].copy()), "240 columns of pixels; expected a square number"),
        (csv().replace(",", ",x", 2000), "could not convert string"),
        (csv(IMAGES.astype(np.int64) + 1), "numbers from 1 to 256; expected 0 to 255"),
        (csv()[:3000], "expected numbers"),
        (csv().splitlines()[0], "a heading and no rows"),
    ],
)
def test_a_wrong_table_is_told_in_one_line(folder, content, message):
    (folder / "train.csv").write_text(content)
    assert message in fault(folder)


@pytest.mark.parametrize("label", ["nan", "-inf", "1e300", str(2**63)])
def test_a_label_that_is_no_number_of_a_class_is_told(folder, label):
    (folder / "train.csv").write_text(csv(labels=[*LABELS[:-1], label]))
    assert f"label {label} in row 40; expected whole numbers, or names" in fault(folder)
    # Among words it is one.
    (folder / "train.csv").write_text(csv(labels=[*map(str, LABELS[:-2]), label, "word"]))
    assert label in load_folder("mnist", folder).train.class_names


def test_a_long_label_does_not_make_all_long(folder):
    (folder / "train.csv").write_text(csv(labels=[*LABELS[:-1], 10**6 * "x"]))
    assert "a name of 1,000,000 characters; expected at most 1,000" in fault(folder)


def test_tables_that_are_no_files_or_made_to_fill_memory_are_told(folder, monkeypatch):
    os.mkfifo(folder / "train.csv")
    with pytest.raises(DataError, match=r"train\.csv: cannot be read: it is not a regular file"):
        read_table(folder / "train.csv")
    (folder / "train.csv").unlink()
    monkeypatch.setattr("mnist_jax.runtime.regular_file._LARGE_BYTES", 10_000)
    zeros = csv(np.zeros((2000, 16, 16), np.uint8), 2000 * [1])
    (folder / "train.csv.gz").write_bytes(gzip.compress(zeros.encode()))
    assert "unpack to more than 100 times as many" in fault(folder)


def test_a_table_that_is_cut_short_or_no_text(folder):
    (folder / "train.csv.gz").write_bytes(gzip.compress(csv().encode())[:-20])
    assert "train.csv.gz" in fault(folder)


def test_a_column_of_numbers_is_no_pixel(folder):
    lines = csv().splitlines()
    numbered = [f"id,{lines[0]}", *(f"{i},{line}" for i, line in enumerate(lines[1:]))]
    (folder / "train.csv").write_text("\n".join(numbered))
    table = read_table(folder / "train.csv")
    np.testing.assert_array_equal(np.rint(table.images * 255), IMAGES)
    np.testing.assert_array_equal(table.labels, LABELS)


def parquet(path, images=IMAGES, labels=LABELS, names=("ant", "bee", "cow", "dog"), column="label"):
    pyarrow = pytest.importorskip("pyarrow")
    written = pytest.importorskip("pyarrow.parquet")
    rows = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        rows.append({"bytes": file.getvalue(), "path": None})
    table = pyarrow.table({"image": rows, column: pyarrow.array(list(map(int, labels)))})
    if names:
        features = {"image": {"_type": "Image"}, column: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    written.write_table(table, path)


@pytest.mark.parametrize(
    "paths",
    [
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
    ],
)
@pytest.mark.parametrize("names", [("d", "c", "b", "a"), ()])
def test_hugging_face_parquet_files(folder, paths, names):
    for path, part in zip(paths, (slice(0, 32), slice(32, 40)), strict=True):
        parquet(folder / path, IMAGES[part], LABELS[part], names)
    splits = load_folder("mnist", folder)
    assert splits.train.class_names == (names or ("0", "1", "2", "3"))
    assert sorted(splits.train.labels) == sorted(LABELS[:32])
    for image, label in zip(splits.test.images, splits.test.labels, strict=True):
        assert any((image[..., 0] == IMAGES[i]).all() and LABELS[i] == label for i in range(32, 40))


def test_a_parquet_test_set_without_labels_is_not_used(folder):
    parquet(folder / "train-0.parquet")
    parquet(folder / "test-0.parquet", labels=np.full(40, -1))
    splits = load_folder("mnist", folder)
    assert (splits.train.num_examples, splits.test.num_examples) == (32, 8)
    assert "the files of test have no labels and are not used" in splits.remarks


def test_a_picture_that_every_row_of_a_parquet_file_has_fills_no_memory(folder, monkeypatch):
    parquet(folder / "train.parquet", np.repeat(IMAGES[:1], 300, 0), 150 * [0, 1])
    assert load_folder("mnist", folder).train.num_examples == 240
    monkeypatch.setattr("mnist_jax.runtime.regular_file._LARGE_BYTES", 10_000)
    monkeypatch.setattr("mnist_jax.runtime.regular_file._MOST_TIMES", 10)
    assert "train.parquet: cannot be read (its " in fault(folder)


def test_wrong_parquet_files_are_told(folder, monkeypatch):
    parquet(folder / "train.parquet", column="sentiment")
    assert "parquet columns image, sentiment; expected image" in fault(folder)
    (folder / "train.parquet").write_bytes(b"PAR1 rubbish")
    assert "train.parquet: cannot be read" in fault(folder)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match="needs pyarrow; pip install pyarrow"):
        load_folder("mnist", folder)
