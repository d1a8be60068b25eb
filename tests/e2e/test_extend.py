"""A finished run is made longer under a new schedule, as if it had never stopped on the way."""

import json
import shutil
import signal

import pytest

from mnist_jax.storage.metrics_log import read_metrics
from mnist_jax.training.learning_rate import create_learning_rate_fn
from tests.e2e.training_runs import (
    SINGLE_STEPS,
    STEPS_PER_EPOCH,
    TOTAL_STEPS,
    expect_one_line,
    expect_same_end,
    lines_written,
    saved_step,
    steps_of,
    wait_until,
    without_times,
)

# Without --config: the run knows its own.
EXTENDED = ("--extend=6", "--config.optim.schedule=one_cycle", "--config.optim.learning_rate=5e-3")
LONGER = TOTAL_STEPS + 2 * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def extended(commands, uninterrupted, tmp_path_factory):
    """A copy of the finished run of 4 epochs, extended to 6."""
    workdir = shutil.copytree(uninterrupted, tmp_path_factory.mktemp("extended") / "run")
    done = commands.run("train", f"--workdir={workdir}", *EXTENDED)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "extended after 4 epochs to 6: one_cycle schedule over the 2 added, from 0.005" in done.stdout
    assert "going on from step 144 of 216" in done.stdout
    return workdir


def test_it_goes_on_from_the_last_step_with_a_warm_up_and_decay_of_its_own(extended, uninterrupted):
    config = json.loads((extended / "config.json").read_bytes())
    assert config["num_epochs"] == 6 and config["optim"]["schedule"] == "one_cycle"
    (entry,) = config["run"]["extensions"]
    assert (entry["after_epochs"], entry["after_step"]) == (4, TOTAL_STEPS)
    assert entry["before"] == {"num_epochs": 4, "optim.learning_rate": 2e-2, "optim.schedule": "constant"}
    summary = json.loads((extended / "summary.json").read_bytes())
    assert (summary["epochs"], summary["final_step"]) == (6, LONGER)

    lines, before = read_metrics(extended), read_metrics(uninterrupted)
    assert list(map(without_times, lines[: len(before)])) == list(map(without_times, before))
    assert {line["learning_rate"] for line in before if line["split"] == "train"} == {2e-2}
    added = [line for line in lines[len(before) :] if line["split"] == "train"]
    assert added[0]["step"] == TOTAL_STEPS + 5 and len(added) > 12
    schedule = create_learning_rate_fn("one_cycle", 5e-3, 2 * STEPS_PER_EPOCH)
    expected = [float(schedule(line["step"] - 1 - TOTAL_STEPS)) for line in added]
    # A millionth of the highest: the end of a cosine is a difference of two float32 that are all but equal.
    assert [line["learning_rate"] for line in added] == pytest.approx(expected, abs=5e-3 * 1e-6)
    tests = [line["step"] for line in lines if line["split"] == "test"]
    assert tests == [TOTAL_STEPS, LONGER]


def test_stopped_and_killed_it_ends_the_same(commands, extended, finished):
    words = (f"--workdir={finished}", *EXTENDED)
    process = commands.start("train", *words, SINGLE_STEPS)
    before = (finished / "metrics.jsonl").read_bytes().count(b"\n")
    wait_until(lines_written(finished, before + 3), process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and TOTAL_STEPS < saved_step(out) < LONGER
    process = commands.start("train", *words, SINGLE_STEPS)
    wait_until(lambda: read_metrics(finished)[-1]["step"] >= saved_step(out) + 5, process)
    process.kill()
    process.communicate()
    assert steps_of(finished)[-1] < LONGER
    done = commands.run("train", *words)
    assert done.returncode == 0, done.stderr
    expect_same_end(finished, extended)


def test_the_same_command_again_finds_it_finished_and_others_are_refused(in_process, extended, tmp_path):
    workdir = f"--workdir={extended}"
    again = in_process("train", workdir, *EXTENDED)
    assert again.returncode == 0 and "this run is finished, nothing to do" in again.stdout
    shorter = in_process("train", workdir, "--extend=5", *EXTENDED[1:])
    expect_one_line(shorter, 2, "--extend: ", "has 6 epochs already; expected more, got 5")
    other = in_process("train", workdir, "--extend=7", "--config.seed=3")
    expect_one_line(other, 2, "seed: this run was started with 0, now it is 3")
    original = in_process("train", workdir)
    assert original.returncode == 2
    assert "num_epochs: this run was started with 6, now it is 4" in original.stderr
    assert len(json.loads((extended / "config.json").read_bytes())["run"]["extensions"]) == 1
    nothing = in_process("train", f"--workdir={tmp_path / 'nothing'}", "--extend=7")
    expect_one_line(nothing, 2, "nothing has no checkpoint to go on from; expected one of a run")
    expect_one_line(in_process("train", "--extend=7"), 2, "--extend: the run is missing; give --workdir")


def test_only_what_is_finished_is_extended(in_process, finished):
    shutil.rmtree(finished / "checkpoints" / str(TOTAL_STEPS))
    done = in_process("train", f"--workdir={finished}", "--extend=6")
    expect_one_line(done, 1, "is that of step 108; expected 144, the end of its 4 epochs: first finish it")
