"""The rows of docs/faults.md that end before a run starts: data, configuration, command line, folder.

Each goes through the command itself: exit code, one clear line, no traceback, nothing half made.
"""

import gzip
import os
import struct
import subprocess

import numpy as np
import pytest

from tests.data.conftest import SmallSet, encode_idx
from tests.e2e.training_runs import SMALL, expect_one_line
from tests.full_disk import small_disk

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def damaged(name, damage):
    """Writes a good data set and then one file of it as ``damage`` makes it from the file's bytes."""

    def write(folder):
        small = SmallSet(num_train=700)
        small.write(folder)
        (folder / f"{name}.gz").write_bytes(damage(encode_idx(small.arrays[name])))

    return write


def changed(name, change, **sizes):
    """Writes a data set with one array changed."""

    def write(folder):
        small = SmallSet(**{"num_train": 700, **sizes})
        small.arrays[name] = change(small.arrays[name])
        small.write(folder)

    return write


def missing(folder):
    SmallSet().write(folder)
    (folder / f"{TEST_LABELS}.gz").unlink()


DATA = {
    "wrong magic": (damaged(TEST_LABELS, lambda blob: b"\x12\x34" + blob[2:]), "wrong IDX magic 12 34 08 01"),
    "truncated gzip": (damaged(TRAIN_IMAGES, lambda blob: gzip.compress(blob)[:5000]), "is cut short"),
    "gzip CRC": (
        damaged(TRAIN_LABELS, lambda blob: gzip.compress(blob)[:-8] + struct.pack("<II", 1, len(blob))),
        "CRC check failed",
    ),
    "header count": (
        damaged(TRAIN_IMAGES, lambda blob: blob[:4] + struct.pack(">I", 701) + blob[8:]),
        "but only 548800 follow",
    ),
    "different counts": (changed(TRAIN_LABELS, lambda array: array[:-1]), "holds 700 images but"),
    "label out of range": (
        damaged(TEST_LABELS, lambda blob: blob[:-1] + b"\x0a"),
        "label 10 at position 19 is out of range; expected 0 to 9",
    ),
    "wrong image size": (
        changed(TEST_IMAGES, lambda array: array[:, :27].copy()),
        "train images are 28x28x1 but test images 27x28x1",
    ),
    "train and test swapped": (
        changed(TRAIN_IMAGES, np.copy, num_train=10_000, num_test=60_000, size=1),
        "are train and test swapped?",
    ),
    "missing file": (missing, f"missing file: {TEST_LABELS} (or .gz)"),
    "empty split": (damaged(TEST_LABELS, lambda blob: blob[:4] + bytes(4)), "an empty split"),
}


@pytest.mark.parametrize(("write", "message"), DATA.values(), ids=DATA)
def test_damaged_data(in_process, tmp_path, write, message):
    write(tmp_path / "data")
    # Not "mnist", the default: a folder is MNIST by its SHA-256 alone.
    words = ["--config.data.name=fashion_mnist", f"--config.data.dir={tmp_path / 'data'}"]
    done = in_process("train", f"--workdir={tmp_path / 'run'}", *words)
    assert str(tmp_path / "data") in expect_one_line(done, 1, message)
    assert not (tmp_path / "run").exists()


CONFIG = {
    "unknown key": (["--config.optim.learning_rat=1"], "did you mean 'optim.learning_rate'?"),
    "wrong type": (["--config.num_epochs=abc"], "expected a whole number of at least 0, got 'abc'"),
    "NaN rate": (["--config.optim.learning_rate=nan"], "--config.optim.learning_rate: expected"),
    "infinite rate": (["--config.optim.learning_rate=inf"], "--config.optim.learning_rate: expected"),
    "negative rate": (["--config.optim.learning_rate=-1"], "got -1"),
    "batch -1": (["--config.batch_size=-1"], "expected a whole number of at least 0, got -1"),
    "batch larger than the data": (["--config.batch_size=1000"], "1000 is more than the 576"),
    "batch larger than the data set": (
        ["--config.batch_size=5000", "--config.data.train_examples=0"],
        "batch_size: 5000 is more than the 3936 training images there are",
    ),
    "minus one epoch": (["--config.num_epochs=-1"], "expected a whole number of at least 0, got -1"),
    "batch not divisible by devices": (["--config.batch_size=12"], "12 does not divide over 8 devices"),
    "missing config file": (["--config=configs/defalt.py"], "defalt.py"),
    "stray argument": (["seed=3"], "stray argument 'seed=3'"),
    "impossible duration": (["--config.optim.warmup_fraction=1"], "optim.warmup_fraction: "),
    "kernel larger than the images": (["--config.model.kernel_size=40"], "model: "),
}


@pytest.mark.parametrize(("words", "message"), CONFIG.values(), ids=CONFIG)
def test_wrong_configuration(in_process, tmp_path, words, message):
    done = in_process("train", f"--workdir={tmp_path / 'run'}", *words)
    expect_one_line(done, 2, message)
    assert not (tmp_path / "run").exists()


def test_a_broken_config_file(in_process, tmp_path):
    (tmp_path / "broken.py").write_text("def get_config(:\n")
    done = in_process("train", f"--workdir={tmp_path / 'run'}", f"--config={tmp_path / 'broken.py'}")
    expect_one_line(done, 2, "broken.py", "line 1")
    assert not (tmp_path / "run").exists()


def test_every_slip_is_listed_by_a_process_too(commands, tmp_path):
    words = ["--config.batch_size=-1", "--config.num_epochs=-1", "stray"]
    done = commands.run("train", *SMALL, f"--workdir={tmp_path / 'run'}", *words)
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 3 and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_platform_that_is_not_there(commands, tmp_path):
    absent = commands.with_environment(JAX_PLATFORMS="tpu")
    done = absent.run("train", *SMALL, f"--workdir={tmp_path / 'run'}")
    expect_one_line(done, 1, "no device to run on", "JAX_PLATFORMS")
    assert not (tmp_path / "run").exists()


def test_a_workdir_that_is_a_file_or_read_only_or_one_level_too_deep(in_process, uninterrupted, tmp_path):
    (tmp_path / "file").write_text("mine")
    expect_one_line(in_process("train", f"--workdir={tmp_path / 'file'}"), 1, "is a file: give a folder")
    deep = uninterrupted / "checkpoints"
    for main in ("train", "evaluate"):
        for path in (deep, deep / "144"):
            done = in_process(main, f"--workdir={path}")
            expect_one_line(done, 1, f"give the run's own folder, --workdir {uninterrupted}")
    with small_disk(tmp_path / "disk") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
        done = in_process("train", f"--workdir={disk.folder / 'run'}")
        expect_one_line(done, 1, "cannot be created: Read-only file system")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_a_workdir_without_permission(in_process, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    expect_one_line(in_process("train", f"--workdir={tmp_path / 'closed'}"), 1, "Permission denied")


def test_no_run_and_no_such_checkpoint(commands, uninterrupted, tmp_path):
    done = commands.run("evaluate", f"--workdir={tmp_path / 'absent'}")
    expect_one_line(done, 1, "absent does not exist")
    done = commands.run("evaluate", f"--workdir={uninterrupted}", "--checkpoint=999")
    expect_one_line(done, 1, "checkpoint 999", "is not there (there are: ", "144)")
