"""Which run is shown when none is named."""

import os

import pytest

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.demo.runs import newest_run
from mnist_jax.errors import RunError


@pytest.fixture(autouse=True)
def whole_unless_named_damaged(monkeypatch):
    monkeypatch.setattr(CheckpointFolder, "is_intact", lambda self, step: "damaged" not in str(self.path))


def make_run(folder, steps, time):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    for step in steps:
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
        os.utime(folder / "checkpoints" / str(step), (time, time))


def test_the_run_with_the_newest_checkpoint(tmp_path):
    make_run(tmp_path / "old", [5, 10], 1000)
    make_run(tmp_path / "deeper" / "new", [3], 2000)
    make_run(tmp_path / "empty", [], 3000)
    make_run(tmp_path / "damaged", [9], 4000)
    assert newest_run(tmp_path) == tmp_path / "deeper" / "new"


@pytest.mark.parametrize("there", [True, False])
def test_none(tmp_path, there):
    if there:
        make_run(tmp_path / "runs" / "empty", [], 1000)
    with pytest.raises(RunError, match="no run with a checkpoint below .*runs: give --workdir DIR, or train"):
        newest_run(tmp_path / "runs")
