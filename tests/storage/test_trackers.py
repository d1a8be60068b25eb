"""Trackers: each client in its own offline mode where it is installed; faults of one are one note."""

import importlib.util
import sqlite3

import numpy as np
import pytest

from mnist_jax.errors import ConfigError
from mnist_jax.storage import trackers
from mnist_jax.storage.trackers import Trackers, open_tracker, picture_grid, read_names

CONFIG = {"seed": 3, "optim.learning_rate": 1e-3, "model.features": (2, 2), "data.dir": ""}
PICTURE = np.full((9, 9, 3), 200, np.uint8)


class Fake:
    """Remembers what it is told, and fails in one method."""

    def __init__(self, fails_in=""):
        self.fails_in, self.told = fails_in, []

    def __getattr__(self, method):
        def tell(*arguments):
            if method == self.fails_in:
                print("a client that prints")
                raise OSError("no route\nto host")
            self.told.append((method, *arguments))

        return tell


@pytest.mark.parametrize("method", ["scalars", "close"])
def test_a_tracker_that_fails_is_left_out_with_one_note(method, capsys):
    notes: list[str] = []
    told, good, bad = Trackers(notes.append), Fake(), Fake(method)
    told.open("bad", lambda: bad)
    told.open("good", lambda: good)
    told.open("absent", lambda: 1 / 0)
    for step in (1, 2):
        told.scalars(step, {"train/loss": 0.5})
    told.close(2, {"test_accuracy": 0.9, "dataset": {}, "git_commit": None})
    told.close(2)
    assert notes == [
        "absent is told nothing more of this run: ZeroDivisionError: division by zero",
        "bad is told nothing more of this run: OSError: no route to host",
    ]
    values = {"train/loss": 0.5}
    assert good.told == [
        ("scalars", 1, values),
        ("scalars", 2, values),
        ("close", 2, {"test_accuracy": 0.9}, False),
    ]
    assert capsys.readouterr().out == ""


def test_a_client_that_is_missing_is_one_line(monkeypatch):
    assert read_names("") == []
    assert read_names("tensorboard") == ["tensorboard"]
    monkeypatch.setitem(trackers.TRACKERS, "wandb", "no_such_module")
    with pytest.raises(
        ConfigError, match=r"tracking: wandb is not installed here; pip install 'mnist-jax\[wan"
    ):
        read_names("tensorboard,wandb")


def test_pictures_side_by_side():
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] + np.full((3, 2, 4, 1), 10, np.uint8)
    grid = picture_grid(images, columns=2)
    assert grid.shape == (6, 10, 3)
    assert (grid[:2, 5:9] == 11).all() and (grid[3:5, :4] == 12).all() and (grid[3:, 5:] == 0).all()
    assert (picture_grid(np.zeros((1, 2, 2, 3), np.uint8)).shape) == (3, 24, 3)


def track_twice(name, folder):
    """A run that is stopped after step 10 and goes on to step 20."""
    ids = []
    for step, summary in ((10, {}), (20, {"test_accuracy": 0.9})):
        tracker = open_tracker(name, folder, CONFIG, print)
        ids.append(tracker.id)
        tracker.scalars(step, {"train/loss": step / 10})
        tracker.picture(step, "train/pictures", PICTURE)
        tracker.close(step, summary, False)
    assert ids[0] == ids[1]
    return ids[0]


def needs(module):
    reason = f"{module} is not installed (an extra of this project)"
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=reason)


# Warnings of the clients themselves are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


@needs("wandb")
def test_wandb_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_id = track_twice("wandb", tmp_path)
    # Two offline parts of one run, which `wandb sync` puts together.
    parts = sorted(tmp_path.glob("wandb/offline-run-*"))
    assert len(parts) == 2 and all(part.name.endswith(run_id) for part in parts)
    assert all(list(part.glob("*.wandb")) for part in parts)
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/train/pictures*.png"))) == 2


@needs("mlflow")
def test_mlflow_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    import mlflow

    run_id = track_twice("mlflow", tmp_path)
    client = mlflow.MlflowClient(f"file:{tmp_path}/mlruns")
    history = client.get_metric_history(run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(10, 1.0), (20, 2.0)]
    run = client.get_run(run_id)
    assert run.data.params == {"seed": "3", "optim.learning_rate": "0.001", "model.features": "(2, 2)"}
    assert run.data.metrics["test_accuracy"] == 0.9 and run.info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(run_id, "train")] == ["train/pictures.png"]


@needs("trackio")
def test_trackio_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    run_id = track_twice("trackio", tmp_path)
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select run_name, step, metrics from metrics order by id").fetchall()
    assert {name for name, _, _ in rows} == {run_id}
    losses = [step for _, step, metrics in rows if "train/loss" in str(metrics)]
    assert losses == [10, 20]
    assert any("summary/test_accuracy" in str(metrics) for _, _, metrics in rows)
