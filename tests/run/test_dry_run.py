"""``train --dry_run``: what is said is what the training would be, and nothing is left behind."""

import json

import pytest

from mnist_jax import cli, train
from mnist_jax.config.check import check
from mnist_jax.run import dry_run
from mnist_jax.run.dry_run import plan_run
from mnist_jax.terminal.console import RunConsole
from tests.test_study import TINY, tiny_config

MEASURED = {
    "memory": {"arguments": 1000, "added": 500, "total": 1500},
    "steps": 7,
    "seconds_per_step": 0.5,
    "seconds_per_image_evaluated": 0.01,
    "compile_seconds": 4.0,
}
SILENT = RunConsole(enabled=False)


@pytest.fixture(autouse=True)
def embedded(monkeypatch):
    monkeypatch.delenv("MNIST_JAX_DATA_DIR", raising=False)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The plan of a tiny run, and the folder, in which others must not find anything."""
    folder = tmp_path_factory.mktemp("dry")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MNIST_JAX_DATA_DIR", raising=False)
        return plan_run(tiny_config(), str(folder / "a" / "run"), SILENT), folder


def test_nothing_is_left_and_the_plan_is_plain(planned):
    plan, folder = planned
    assert list(folder.iterdir()) == []
    assert json.loads(json.dumps(plan)) == plan


def test_the_figures_are_those_of_the_run(planned):
    plan, _ = planned
    config = check(tiny_config())
    num_train = config.data.train_examples
    assert plan["steps_per_epoch"] == num_train // config.batch_size
    assert plan["total_steps"] == plan["steps_left"] == plan["steps_per_epoch"] * config.num_epochs
    assert plan["dataset"]["num_train"] == num_train and not plan["finished"]
    assert sum(layer["num_params"] for layer in plan["layers"]) == plan["num_params"] + plan["num_statistics"]
    assert plan["layers"][-1]["output_shape"] == [None, 10]
    # The data set lies on the device, and each checkpoint has parameters and Adam's two averages of them.
    assert plan["memory"]["total_bytes"] > plan["memory"]["arguments_bytes"] > num_train * 28 * 28
    assert plan["disk"]["checkpoint_bytes"] >= 3 * 4 * plan["num_params"]
    seconds = plan["seconds"]
    assert seconds["training"] == pytest.approx(plan["total_steps"] * seconds["seconds_per_step"])
    parts = seconds["training"] + seconds["evaluating"] + seconds["compiling"]
    assert seconds["total"] == pytest.approx(parts) and min(seconds["training"], seconds["evaluating"]) > 0


def test_the_command_says_it_and_answers_in_json(planned, tmp_path, monkeypatch, capsys):
    """Of a run that a signal stopped after the last checkpoint: nothing but the evaluation is left."""
    monkeypatch.setattr(dry_run, "_measure", lambda *others: MEASURED)
    monkeypatch.setattr(dry_run, "_steps_done", lambda *others: (12, False))
    words = [f"--config.{name}={value}" for name, value in TINY.items()]
    words += ["--config=default", f"--workdir={tmp_path}", "--dry_run", "--json"]
    assert cli.run_main(train.main, train.COMMAND, words) == 0
    shown = capsys.readouterr()
    plan = json.loads(shown.out)
    assert (plan["total_steps"], plan["steps_left"]) == (18, 6)
    assert plan["num_params"] == planned[0]["num_params"]
    # One of two epochs is left, with one evaluation of 1,000 images.
    assert plan["seconds"]["total"] == pytest.approx(6 * 0.5 + 1000 * 0.01 + 4)
    for line in (
        "resume    going on from step 12 of 18",
        "left      6 of 18 steps",
        "time      about 17.0 s: 3.0 s training, 4.0 s compiling, 10.0 s evaluating",
        "measured: 7 steps, 1 evaluation",
        "dry run: nothing was trained or written",
    ):
        assert line in shown.err


def test_what_a_training_would_refuse_is_refused(small_run, capsys):
    words = ["--config=smoke", f"--workdir={small_run}", "--dry_run"]
    assert cli.run_main(train.main, train.COMMAND, words) == 2
    assert "num_epochs: this run was started with 2, now it is 1" in capsys.readouterr().err


def test_too_little_memory_and_disk_are_warnings(planned, monkeypatch):
    plan, _ = planned
    assert plan["warnings"] == []
    needed = plan["memory"]["total_bytes"]
    (line,) = dry_run.memory_warnings({"total_bytes": needed, "available_bytes": needed}, "less")
    assert line.endswith("are there: try less")
    assert dry_run.memory_warnings({"total_bytes": needed, "available_bytes": 2 * needed}, "less") == []
    assert dry_run.memory_warnings({"total_bytes": needed, "available_bytes": None}, "less") == []
