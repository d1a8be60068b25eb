r"""``data.group``: who made which picture, told by a file's name or a column, is kept apart."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mnist_jax.config.check import check, default_config
from mnist_jax.data.folder import load_folder
from mnist_jax.data.load import load_splits
from mnist_jax.errors import ConfigError, DataError
from mnist_jax.run.datasets import divide, divide_into_folds
from mnist_jax.studies.seeds import prepare_split

WRITERS = ("ann", "bob", "cem", "dora", "eve", "finn")
# The tone of a picture says who made it.
TONES = {name: 40 * number for number, name in enumerate(WRITERS)}


def write_pictures(root, splits=("train", "test"), num=2):
    """``SPLIT/CLASS/WRITER_NUMBER.png``; returns the path and the writer of each."""
    made = []
    for split in splits:
        for label in "ab":
            for writer in WRITERS:
                for number in range(num):
                    path = root / split / label / f"{writer}_{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("L", (20, 20), TONES[writer] + number + 3 * (label == "b")).save(path)
                    made.append((path, writer))
    return made


def by_writer(dataset):
    """The writers of a data set's groups, by the tones of the pictures in them."""
    found = {}
    for image, group in zip(dataset.images, dataset.groups, strict=True):
        found.setdefault(int(group), set()).add(WRITERS[image[0, 0, 0] // 40])
    return found


def test_a_regular_expression_tells_groups_by_file_names(tmp_path):
    write_pictures(tmp_path)
    train = load_folder("mine", tmp_path, group=r"(\w+)_\d").train
    found = by_writer(train)
    assert sorted(map(tuple, found.values())) == [(name,) for name in WRITERS]
    assert train.groups.dtype == np.int32 and load_folder("mine", tmp_path).train.groups is None


@pytest.mark.parametrize("table", ["metadata.csv", "metadata.jsonl"])
def test_a_column_beside_pictures_tells_groups(tmp_path, table):
    for split in ("train", "test"):
        made = write_pictures(tmp_path / "pictures", [split])
        folder = tmp_path / split
        folder.mkdir()
        rows = []
        for number, (path, writer) in enumerate(made):
            path.rename(folder / f"{number}.png")
            rows.append({"file_name": f"{number}.png", "label": path.parent.name, "writer": writer})
        with (folder / table).open("w") as stream:
            if table.endswith("csv"):
                writer = csv.DictWriter(stream, rows[0])
                writer.writeheader()
                writer.writerows(rows)
            else:
                stream.write("".join(json.dumps(row) + "\n" for row in rows))
    train = load_folder("mine", tmp_path, group="writer").train
    assert all(len(names) == 1 for names in by_writer(train).values()) and len(by_writer(train)) == 6
    with pytest.raises(
        DataError, match=r"no column 'pen' \(data.group\); expected one of file_name, label, wr"
    ):
        load_folder("mine", tmp_path, group="pen")


def write_table(folder, *, with_writers=True):
    rng = np.random.default_rng(0)
    names = ["label", *(["writer"] if with_writers else []), *(f"pixel{i}" for i in range(64))]
    lines = [",".join(names)]
    for number in range(60):
        writer = WRITERS[number % 6]
        pixels = np.full(64, TONES[writer]) + (rng.random(64) < 0.5)
        lines.append(",".join(map(str, [number % 2, *([writer] if with_writers else []), *pixels])))
    (folder / "train.csv").write_text("\n".join(lines) + "\n")


def test_a_column_among_pixels_tells_groups_and_the_drawn_test_set_is_of_others(tmp_path):
    write_table(tmp_path)
    splits = load_folder("mine", tmp_path, group="writer")
    assert splits.train.image_shape[:2] == (8, 8) or splits.train.image_shape[0] >= 8
    found = by_writer(splits.train)
    assert all(len(names) == 1 for names in found.values())
    in_test = {WRITERS[image[0, 0, 0] // 40] for image in splits.test.images}
    assert in_test and not in_test & set().union(*found.values())
    assert any("of groups that are in it alone" in remark for remark in splits.remarks)
    with pytest.raises(DataError, match=r"no column 'pen' \(data.group\); expected one of label, writer$"):
        load_folder("mine", tmp_path, group="pen")


def configured(folder, **data):
    config = default_config()
    config.data.dir, config.data.name = str(folder), "mine"
    config.num_epochs, config.batch_size = 1, 2
    for name, value in data.items():
        config.data[name] = value
    return check(config)


def test_validation_and_folds_keep_groups_apart(tmp_path):
    write_pictures(tmp_path)
    config = configured(tmp_path, group=r"(\w+)_\d", validation_examples=8)
    splits = load_splits("mine", data_dir=tmp_path, group=config.data.group)
    _, data = divide(config, splits)
    assert data.validation.num_examples == 8
    assert not set(data.train.groups.tolist()) & set(data.validation.groups.tolist())
    assert "the 8 validation images are of groups that have no training images" in data.chosen
    _, folds = divide_into_folds(configured(tmp_path, group=r"(\w+)_\d"), splits, 5)
    for fold in range(5):
        data = folds.hold_out(fold)
        assert not set(data.train.groups.tolist()) & set(data.validation.groups.tolist())
    assert "the 5 folds are of groups, each of which is in one fold" in folds.chosen
    # Each group has four pictures: five are not to be had, and it is not done over all classes instead.
    with pytest.raises(DataError, match="have 5 examples; the nearest is 4; or data.validation=classes"):
        divide(configured(tmp_path, group=r"(\w+)_\d", validation_examples=5), splits)
    # A study would hold out a twelfth of 60; ten is the nearest number that whole groups have.
    write_pictures(tmp_path / "more", num=5)
    config, data, measured = prepare_split(configured(tmp_path / "more", group=r"(\w+)_\d"), "validation")
    assert measured.num_examples == config.data.validation_examples == 10


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("writer", r"data.group='writer' is a column, but there is no table; expected a regular expression"),
        (r"pen(\d)", r"a/ann_0.png: data.group='pen\(\\\\d\)' does not match its name; expected every"),
        (r"(_)", r"puts all into one group; expected several"),
    ],
)
def test_a_group_that_is_not_found_is_one_line(tmp_path, group, message):
    write_pictures(tmp_path)
    with pytest.raises(DataError, match=message) as raised:
        load_folder("mine", tmp_path, group=group)
    assert "\n" not in str(raised.value)


def test_data_without_names_and_columns_has_no_groups():
    with pytest.raises(DataError, match="no names of pictures and no table to tell data.group='writer' from"):
        load_splits("mnist_5k", group="writer")


@pytest.mark.parametrize(("group", "message"), [("(", "no regular expression"), ("(a)(b)", "has 2")])
def test_an_expression_that_is_none_is_refused_before_any_work(tmp_path, group, message):
    with pytest.raises(ConfigError, match=f"data.group: .*{message}"):
        configured(tmp_path, group=group)
