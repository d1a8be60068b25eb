"""The rows of docs/faults.md that happen while a run is under way, each made to happen for real."""

import hashlib
import json
import os
import signal
import sys

import pytest

from tests.e2e.training_runs import (
    EVERY_STEP_LOGGED,
    SINGLE_STEPS,
    SMALL,
    TOTAL_STEPS,
    expect_one_line,
    expect_same_end,
    lines_written,
    steps_of,
    wait_until,
)
from tests.full_disk import small_disk


def test_a_loss_that_is_not_finite_names_the_step_and_keeps_the_good_checkpoints(
    commands, in_process, tmp_path
):
    workdir = tmp_path / "run"
    # The rate starts at 0 and explodes with the second step, so the third loss is the first bad one.
    words = ["--config.optim.learning_rate=1e30", "--config.optim.warmup_fraction=0.2"]
    done = commands.run(
        "train", *SMALL, f"--workdir={workdir}", *words, SINGLE_STEPS, "--config.checkpoint.every_steps=1"
    )
    expect_one_line(done, 1, "the loss is not finite in step 3;", "lower optim.learning_rate (it is 1e+30)")
    assert steps_of(workdir) == [1, 2]
    evaluated = commands.run("evaluate", f"--workdir={workdir}", "--checkpoint=1")
    assert evaluated.returncode == 0 and "step 1 " in evaluated.stdout
    # A setting of a run that has something to lose is not changed in place.
    done = in_process("train", f"--workdir={workdir}")
    assert done.returncode == 2 and "learning_rate: this run was started with 1e+30" in done.stderr


def in_shell(preparation):
    """The main, started by a shell that prepared its process first."""
    return ["sh", "-c", f'{preparation}; exec "$0" -m mnist_jax.train "$@"', sys.executable]


def test_a_device_that_runs_out_of_memory(commands, tmp_path):
    words = [f"--workdir={tmp_path / 'run'}", "--config.model.dense_features=10000000"]
    done = commands.run("train", *SMALL, *words, program=in_shell("ulimit -v 4000000"))
    expect_one_line(done, 1, "the device ran out of memory", "smaller")
    # Nothing was reached, so nothing stands in the way of the same folder with a smaller network.
    commands.train(tmp_path / "run", "--config.num_epochs=1")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "way", [*(pytest.param(way, marks=pytest.mark.slow) for way in ("closed", "no reader")), "full"]
)
def test_an_output_that_takes_nothing_does_not_harm_a_run(commands, uninterrupted, tmp_path, way):
    words = [*SMALL, f"--workdir={tmp_path / 'run'}"]
    if way == "closed":
        done = commands.run("train", *words, program=in_shell("exec >&-"))
    elif way == "full":
        with open("/dev/full", "w") as full:
            done = commands.run("train", *words, stdout=full)
    else:
        reading, writing = os.pipe()
        os.close(reading)
        done = commands.run("train", *words, stdout=writing)
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    expect_same_end(tmp_path / "run", uninterrupted)


def test_an_output_that_is_no_terminal_gets_plain_lines(commands, tmp_path):
    done = commands.train(tmp_path / "run", "--config.num_epochs=2")
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines() if "/2 " in line] == ["1/2", "2/2"]


# The clock goes back by an hour each time anyone looks.
CLOCK = """
import itertools, runpy, sys, time
now = time.time()
count = itertools.count()
time.time = lambda: now - 3600 * next(count)
time.time_ns = lambda: int(time.time() * 1e9)
sys.argv[0] = "train"
runpy.run_module("mnist_jax.train", run_name="__main__")
"""


def test_a_clock_that_jumps_back(commands, uninterrupted, tmp_path):
    commands.train(tmp_path / "run", program=[sys.executable, "-c", CLOCK])
    expect_same_end(tmp_path / "run", uninterrupted)
    summary = json.loads((tmp_path / "run" / "summary.json").read_bytes())
    assert min(summary[name] for name in ("train_seconds", "compile_seconds", "eval_seconds")) > 0


@pytest.mark.parametrize("what", ["logging", "saving"])
def test_a_disk_that_fills_up(commands, uninterrupted, tmp_path, what):
    often = {"logging": [EVERY_STEP_LOGGED], "saving": ["--config.checkpoint.every_steps=5"]}[what]
    # What is logged is part of a run's settings; the reference has the usual lines.
    with small_disk(tmp_path / "disk", size_bytes=4 * 2**20) as disk:
        workdir = disk.folder / "run"
        process = commands.start_training(workdir, SINGLE_STEPS, *often, "--config.checkpoint.keep_latest=1")
        wait_until(lambda: list(workdir.glob("checkpoints/*/manifest.json")), process)
        disk.fill()
        out, err = process.communicate(timeout=120)
        assert process.returncode == 1, (out, err)
        assert len(err.splitlines()) == 1 and "no space left" in err.lower(), err
        good = steps_of(workdir)[-1]
        assert 0 < good < TOTAL_STEPS
        (disk.folder / "filler").unlink()
        done = commands.train(workdir, *often, "--config.checkpoint.keep_latest=1")
        assert f"step {good}" in done.stdout or "resum" in done.stdout
        if what == "saving":
            expect_same_end(workdir, uninterrupted)


def test_two_runs_in_one_workdir_and_the_lock_of_a_killed_one(commands, uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    process = commands.start_training(workdir, SINGLE_STEPS)
    wait_until(lines_written(workdir, 1), process)
    process.send_signal(signal.SIGSTOP)
    second = commands.run("train", *SMALL, f"--workdir={workdir}")
    expect_one_line(second, 1, f"is in use by another run (process {process.pid} on", "another --workdir")
    process.kill()
    process.communicate()
    commands.train(workdir)
    expect_same_end(workdir, uninterrupted)


def test_a_checkpoint_of_a_newer_format(in_process, finished):
    for path in finished.glob("checkpoints/*/manifest.json"):
        body = json.loads(path.read_bytes())["manifest"]
        body["format_version"] += 1
        sha256 = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        path.write_text(json.dumps({"sha256": sha256, "manifest": body}))
    done = in_process("evaluate", f"--workdir={finished}")
    expect_one_line(done, 1, "has format 3", "use the newer version that wrote it")


def test_a_checkpoint_of_another_architecture(in_process, finished):
    config = json.loads((finished / "config.json").read_bytes())
    config["model"]["dense_features"] = 9
    (finished / "config.json").write_text(json.dumps(config))
    done = in_process("evaluate", f"--workdir={finished}")
    assert done.returncode == 1 and "does not fit this model" in done.stderr
    assert (
        "state/ema/params/dense/kernel: float32[338,8] in the checkpoint, float32[338,9] expected"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
