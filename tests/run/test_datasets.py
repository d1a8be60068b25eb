"""What a configuration takes of a data set, and how the files of a run name it."""

import copy
import dataclasses
import subprocess
import sys
import threading

import numpy as np
import pytest

from mnist_jax.config import default_config
from mnist_jax.config.check import check
from mnist_jax.data.dataset import Dataset, Splits
from mnist_jax.errors import DataError
from mnist_jax.run import datasets
from mnist_jax.run.datasets import (
    RunData,
    begin_to_load,
    divide,
    divide_into_folds,
    load_configured,
    load_recorded,
    write_test_items,
)


def make_dataset(num_examples, seed):
    images = np.random.default_rng(seed).integers(0, 256, (num_examples, 4, 4, 1)).astype(np.uint8)
    labels = (np.arange(num_examples) % 2).astype(np.int32)
    return Dataset.from_arrays(images, labels, name="dots", source="made here", class_names=("a", "b"))


@pytest.fixture
def splits():
    return Splits(make_dataset(20, 0), make_dataset(6, 1), is_fallback=True, notice="not the real thing")


def test_the_data_really_used_is_named(splits):
    train, validation = splits.train.take(12).hold_out(4, "last")
    assert RunData(splits, train, validation).facts()["dataset"] == {
        "name": "dots",
        "source": "made here",
        "num_train": 8,
        "num_validation": 4,
        "num_test": 6,
        "sha256": splits.train.sha256,
        "test_sha256": splits.test.sha256,
        "is_fallback": True,
        "notice": "not the real thing",
        "remarks": [],
        "preparation": splits.preparation.as_dict(),
    }
    assert RunData(splits, splits.train, None).facts()["dataset"]["num_validation"] == 0


def test_a_configuration_takes_its_examples_and_holds_some_out(splits):
    _, data = divide(
        check({"batch_size": 4, "data": {"train_examples": 12, "validation_examples": 4}}), splits
    )
    assert (data.train.num_examples, data.validation.num_examples, data.eval_split) == (8, 4, "validation")
    _, data = divide(check({"batch_size": 4}), splits)
    assert data.chosen == ()
    config, automatic = divide(check({"batch_size": 0, "data": {"validation_examples": 4}}), splits)
    assert config.batch_size == 8
    assert automatic.remarks[1] == "chosen for 16 training images: batches of 8"
    assert (data.train.num_examples, data.validation, data.eval_split) == (20, None, "test")


def test_where_there_are_fewer_examples_than_asked_for_all_are_taken_and_it_is_said(splits):
    asked = check({"batch_size": 4, "data": {"train_examples": 21, "validation_examples": 4}})
    config, data = divide(asked, splits)
    assert (config.data.train_examples, data.train.num_examples, data.validation.num_examples) == (0, 16, 4)
    assert "there are 20 training images, fewer than data.train_examples = 21" in data.remarks
    assert asked.data.train_examples == 21
    config, folds = divide_into_folds(check({"batch_size": 4, "data": {"train_examples": 21}}), splits, 5)
    assert (config.data.train_examples, folds.used.num_examples) == (0, 20)
    assert any("fewer than data.train_examples" in line for line in folds.chosen)


def test_an_earlier_runs_data_has_to_be_the_same(splits, monkeypatch):
    asked = []
    monkeypatch.setattr(
        datasets, "load_splits", lambda name, **where: asked.append((name, where["data_dir"])) or splits
    )
    config, run = (
        check({"data": {"name": "dots", "dir": "/there"}}),
        RunData(splits, splits.train, None).facts(),
    )
    assert load_recorded(config, run) is splits
    assert load_recorded(config, run, "here") is splits
    assert asked == [("dots", "/there"), ("dots", "here")]
    other = copy.deepcopy(run)
    other["dataset"]["test_sha256"] = "0" * 64
    with pytest.raises(DataError, match="is not that of the run.*give --data_dir"):
        load_recorded(config, other)


def held_out_of(splits, **data):
    return divide(check({"batch_size": 4, "data": {"validation_examples": 4, **data}}), splits)[1]


def test_how_validation_images_were_chosen_is_told(splits):
    groups = np.repeat(np.arange(10), 2).astype(np.int32)
    known = dataclasses.replace(splits, train=dataclasses.replace(splits.train, groups=groups))
    by_writers = held_out_of(known)
    assert by_writers.facts()["dataset"]["remarks"] == [
        "the 4 validation images are by writers none of whom wrote training images"
    ]
    assert not set(by_writers.validation.groups) & set(by_writers.train.groups)
    assert held_out_of(known, validation_examples=5).remarks == [
        "the 5 validation images are drawn over all classes"
    ]
    assert held_out_of(splits).remarks == ["the 4 validation images are drawn over all classes"]
    assert held_out_of(splits).validation.labels.tolist().count(0) == 2
    last = held_out_of(known, validation="last")
    assert last.remarks == ["the 4 validation images are the last of the training images"]
    assert last.validation.groups.tolist() == [8, 8, 9, 9]


def test_a_test_set_that_was_drawn_is_listed(splits, tmp_path):
    write_test_items(tmp_path, splits)
    assert not list(tmp_path.iterdir())
    write_test_items(tmp_path, dataclasses.replace(splits, test_items=("cat/1.png", "z\udce9ro/2.png")))
    assert (tmp_path / "test_items.txt").read_bytes() == b"cat/1.png\nz\xe9ro/2.png\n"


def test_of_groups_too_no_more_examples_are_asked_for_than_there_are(splits):
    groups = np.repeat(np.arange(4, dtype=np.int32), 5)
    grouped = dataclasses.replace(splits, train=dataclasses.replace(splits.train, groups=groups))
    asked = check({"batch_size": 4, "data": {"train_examples": 21, "group": "writer"}})
    assert datasets.choose_validation_examples(asked, grouped, 6) == 5


def idx_folder(folder, size=28):
    """Four IDX files of random digits."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, num_examples in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (num_examples, size, size), np.uint8)
        header = b"".join(number.to_bytes(4, "big") for number in images.shape)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + header + images.tobytes())
        labels = bytes(i % 10 for i in range(num_examples))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + header[:4] + labels)
    return folder


def config_of(folder):
    config = default_config()
    config.data.dir = str(folder)
    return check(config)


def test_data_that_was_begun_to_load_is_that_of_loading_it(tmp_path):
    config = config_of(idx_folder(tmp_path / "idx"))
    begun, loaded = begin_to_load(config)(), load_configured(config)
    assert begun.train.sha256 == loaded.train.sha256 and begun.test.sha256 == loaded.test.sha256
    assert begun.train.num_examples == 40


@pytest.mark.parametrize("damaged", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_what_is_wrong_with_data_is_told_where_it_is_waited_for(tmp_path, damaged):
    folder = idx_folder(tmp_path / "idx")
    (folder / damaged).write_bytes(b"\0\0\x08")
    loading = begin_to_load(config_of(folder))
    with pytest.raises(DataError, match=f"{damaged}: wrong IDX magic"):
        loading()


def test_other_data_is_loaded_where_it_is_waited_for(tmp_path):
    config = default_config()
    config.data.name = "mnist_5k"
    before = threading.active_count()
    loading = begin_to_load(check(config))
    assert threading.active_count() == before
    assert loading().train.name == "mnist_5k"
    missing = begin_to_load(config_of(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="nowhere"):
        missing()


@pytest.mark.parametrize("size", [28, 200])
def test_reading_idx_files_imports_nothing_that_is_imported_beside_it(tmp_path, size):
    """Two threads that import parts of one package may fail; images of 200x200 pixels are resized."""
    begin = "from mnist_jax.run.datasets import begin_to_load\nimport numpy.ma\n"
    load = (
        "from mnist_jax.config import default_config\n"
        "from mnist_jax.config.check import check\n"
        "config = default_config()\n"
        f"config.data.dir = {str(idx_folder(tmp_path / 'idx', size))!r}\n"
        "splits = begin_to_load(check(config))()\n"
    )
    beside = (
        "from mnist_jax.report.after_run import leave_report\n"
        "from mnist_jax.run.loop import train_and_evaluate\n"
        "from mnist_jax.runtime import distributed\n"
        "from mnist_jax.runtime.compilation import enable_compile_cache\n"
        "from mnist_jax.terminal.console import RunConsole\n"
        "distributed.join()\n"
        "enable_compile_cache(print)\n"
    )
    begun, of_loading, of_both = (modules_of(begin + more) for more in ("", load, beside))
    assert ("PIL.Image" in of_loading) == (size > 64) and "jax" in of_both
    shared = (of_loading & of_both) - begun
    assert {name for name in shared if "." in name and not name.startswith("encodings.")} == set()


def modules_of(program):
    """The modules that a process has imported at the end of a program."""
    program += "import sys\nprint('|'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.strip().split("\n")[-1].split("|"))
