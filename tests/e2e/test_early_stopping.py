"""A run that stops early keeps its best epoch, and ends the same however often it was killed."""

import json
import sys

import pytest

from mnist_jax.storage.metrics_log import read_metrics
from tests.e2e.training_runs import (
    SINGLE_STEPS,
    STEPS_PER_EPOCH,
    expect_one_line,
    expect_same_end,
    lines_written,
    saved_step,
    steps_of,
    wait_until,
)

STOPPING = [
    "--config.num_epochs=12",
    "--config.optim.learning_rate=0.1",
    "--config.early_stopping.patience=2",
    "--config.checkpoint.every_epochs=0",
    "--config.checkpoint.every_steps=24",
]

# The main, killed where the function named by the first argument would be called.
KILLED = """
import os, runpy, sys
import mnist_jax.run.loop as loop
from mnist_jax.checkpoints.manager import Checkpoints

def end(*arguments):
    os._exit(9)

if sys.argv[1] == "remove_after":
    Checkpoints.remove_after = end
else:
    loop.make_summary = end
del sys.argv[1]
sys.argv[0] = "train"
runpy.run_module("mnist_jax.train", run_name="__main__")
"""


@pytest.fixture(scope="module")
def stopped(commands, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    done = commands.train(workdir, *STOPPING)
    return workdir, done.stdout


def summary_of(workdir):
    return json.loads((workdir / "summary.json").read_bytes())


def test_it_ends_two_epochs_after_the_best_and_keeps_that(commands, stopped):
    workdir, said = stopped
    accuracies = [line["accuracy"] for line in read_metrics(workdir) if line["split"] == "validation"]
    best = accuracies.index(max(accuracies)) + 1
    assert 1 < best < len(accuracies) < 12
    # As good again is no better.
    assert len(accuracies) == best + 2
    summary = summary_of(workdir)
    assert summary["early_stopping"] == {
        "metric": "accuracy",
        "stopped_epoch": best + 2,
        "kept_epoch": best,
        "trained_steps": (best + 2) * STEPS_PER_EPOCH,
    }
    assert summary["final_step"] == summary["best"]["step"] == best * STEPS_PER_EPOCH
    assert f"early, after epoch {best + 2}; epoch {best} is kept" in said
    (test,) = (line for line in read_metrics(workdir) if line["split"] == "test")
    assert test["kept_step"] == summary["final_step"] and test["errors"] == summary["test_errors"]
    # The checkpoint that is left is the one that was measured.
    assert steps_of(workdir)[-1] == summary["final_step"]
    evaluated = json.loads(commands.run("evaluate", f"--workdir={workdir}", "--json").stdout)
    assert evaluated["test_errors"] == summary["test_errors"]


def test_a_finished_one_says_so(commands, stopped):
    done = commands.train(stopped[0], *STOPPING)
    assert "this run is finished, nothing to do" in done.stdout


def test_it_is_not_extended_whatever_is_said_of_patience(in_process, stopped):
    workdir, _ = stopped
    there = sorted(workdir.rglob("*"))
    lines = "ends by early stopping (early_stopping.patience=2)", "start another run with --init_from"
    for words in (STOPPING, [], ["--config.early_stopping.patience=0"]):
        done = in_process("train", f"--workdir={workdir}", *words, "--extend=20")
        expect_one_line(done, 2, f"--extend: {workdir} ", *lines)
    assert sorted(workdir.rglob("*")) == there


@pytest.mark.slow
def test_stopped_by_a_signal_and_killed_twice_at_the_end_it_ends_the_same(commands, stopped, tmp_path):
    workdir = tmp_path / "run"
    process = commands.start_training(workdir, *STOPPING, SINGLE_STEPS)
    wait_until(lines_written(workdir, 12), process)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "") and saved_step(out) > STEPS_PER_EPOCH
    for place in ("remove_after", "make_summary"):
        start = [sys.executable, "-c", KILLED, place]
        process = commands.start_training(workdir, *STOPPING, program=start)
        process.communicate(timeout=120)
        assert process.returncode == 9 and not (workdir / "summary.json").exists()
    commands.train(workdir, *STOPPING)
    expect_same_end(workdir, stopped[0])


def test_what_it_needs_is_told_in_one_line(in_process):
    done = in_process("train", "--config.early_stopping.patience=2", "--config.data.validation_examples=0")
    expect_one_line(done, 2, "early_stopping.patience: needs validation images", "data.validation_examples")
    done = in_process("train", "--config.early_stopping.patience=2", "--config.checkpoint.enabled=False")
    expect_one_line(done, 2, "early_stopping.patience: needs checkpoints")
