"""Many devices and processes: the same command and the same result, and none left hanging."""

import json
import os
import re
import shutil
import signal
import sys
import time

import numpy as np
import pytest

from mnist_jax.storage.metrics_log import read_metrics
from tests.data.conftest import SmallSet
from tests.e2e.several_processes import (
    PEER_LOST,
    children_of,
    finish,
    free_port,
    launch,
    start_one,
    steps_of_or_none,
)
from tests.e2e.training_runs import (
    SINGLE_STEPS,
    SMALL,
    TOTAL_STEPS,
    Commands,
    arrays_of,
    expect_one_line,
    expect_same_end,
    lines_written,
    saved_step,
    steps_of,
    wait_until,
)

FIFTY_STEPS = [
    "--config.num_epochs=1",
    "--config.data.train_examples=864",
    "--config.model.features=(2,2)",
    "--config.model.pool_after=(0,1)",
]


@pytest.fixture(scope="module")
def together(commands, tmp_path_factory):
    """A finished run of the small configuration by 2 processes with 2 devices each."""
    workdir = tmp_path_factory.mktemp("together") / "run"
    words = [*SMALL, f"--workdir={workdir}", "--config.report=True"]
    code, out, err = finish(launch(commands, *words))
    assert (code, err) == (0, ""), (out, err)
    assert (workdir / "report.html").exists() and "no report" not in out
    assert out.count("test accuracy") == 1 and "4 devices in 2 processes" in out and "Gloo" not in out
    return workdir


def test_two_processes_leave_one_run_that_one_process_reads(commands, together):
    summary = json.loads((together / "summary.json").read_bytes())
    assert (summary["num_devices"], summary["num_processes"]) == (4, 2)
    assert summary["final_step"] == TOTAL_STEPS
    done = commands.run("evaluate", f"--workdir={together}", "--json")
    assert json.loads(done.stdout)["test_errors"] == summary["test_errors"], done.stderr
    lines = read_metrics(together)
    assert [line["step"] for line in lines if line["split"] == "validation"] == [36, 72, 108, 144]


def test_checkpoints_of_two_processes_go_on_in_one_and_the_other_way_round(commands, together, tmp_path):
    """Both end with the errors of the run that was never interrupted: rounding is all that differs."""
    expected = json.loads((together / "summary.json").read_bytes())["test_errors"]
    from_two = shutil.copytree(together, tmp_path / "from_two")
    (from_two / "summary.json").unlink()
    # Not even the last step is missing: what is restored is what is evaluated.
    done = commands.train(from_two)
    assert f"going on after step {TOTAL_STEPS}" in done.stdout or "resum" in done.stdout, done.stdout
    assert json.loads((from_two / "summary.json").read_bytes())["test_errors"] == expected
    alone = tmp_path / "alone"
    commands.train(alone)
    errors = json.loads((alone / "summary.json").read_bytes())["test_errors"]
    (alone / "summary.json").unlink()
    code, out, err = finish(launch(commands, *SMALL, f"--workdir={alone}"))
    assert (code, err) == (0, ""), (out, err)
    summary = json.loads((alone / "summary.json").read_bytes())
    assert (summary["test_errors"], summary["num_processes"]) == (errors, 2)


@pytest.mark.slow
def test_half_a_run_by_one_process_and_half_by_two(commands, together, tmp_path):
    workdir = tmp_path / "run"
    process = commands.start_training(workdir, SINGLE_STEPS)
    wait_until(lines_written(workdir, 5), process)
    process.send_signal(signal.SIGTERM)
    _, out, _ = finish(process)
    step = saved_step(out)
    code, out, err = finish(launch(commands, *SMALL, f"--workdir={workdir}"))
    assert (code, err) == (0, "") and f"step {step}" in out, (out, err)
    losses = [json.loads((run / "summary.json").read_bytes())["test_loss"] for run in (workdir, together)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_other_and_both_go_on_together(commands, together, tmp_path, victim):
    workdir, port = tmp_path / "run", free_port()
    on_2 = commands.on_devices(2)
    processes = [start_one(on_2, workdir, index, port, SINGLE_STEPS) for index in range(2)]
    wait_until(lambda: len(steps_of_or_none(workdir)) > 0, processes[0])
    processes[victim].kill()
    killed = time.monotonic()
    code, _, err = finish(processes[1 - victim], seconds=60)
    assert code == 1 and time.monotonic() - killed < 60
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and PEER_LOST in told[0], err
    assert "Traceback" not in err
    finish(processes[victim])
    assert not (workdir / "summary.json").exists()
    code, out, err = finish(launch(commands, *SMALL, f"--workdir={workdir}"))
    assert (code, err) == (0, ""), (out, err)
    expect_same_end(workdir, together)


def test_the_launcher_ends_what_is_left_of_a_run(commands, tmp_path):
    workdir = tmp_path / "run"
    words = [*SMALL, f"--workdir={workdir}", SINGLE_STEPS, "--config.batch_size=15"]
    process = launch(commands, *words, processes=3, devices=1)
    wait_until(lines_written(workdir, 2), process)
    children = children_of(process)
    assert sorted(children) == [0, 1, 2]
    os.kill(children[2], signal.SIGKILL)
    code, _, err = finish(process, seconds=60)
    assert code == 128 + signal.SIGKILL
    assert "error: process 2 was ended by SIGKILL" in err.splitlines()
    assert set(err.splitlines()) <= {"error: process 2 was ended by SIGKILL", *lost_lines(err)}, err
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children.values())


def lost_lines(err):
    return [line for line in err.splitlines() if line.startswith("error: ") and PEER_LOST in line]


@pytest.mark.parametrize(
    "receiver",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("launcher", "process 0")), "process 1"],
)
def test_a_signal_to_any_of_them_has_all_save_the_same_step(commands, together, tmp_path, receiver):
    workdir = tmp_path / "run"
    process = launch(commands, *SMALL, f"--workdir={workdir}", SINGLE_STEPS)
    wait_until(lines_written(workdir, 3), process)
    children = children_of(process)
    pid = process.pid if receiver == "launcher" else children[int(receiver[-1])]
    os.kill(pid, signal.SIGTERM)
    code, out, err = finish(process, seconds=60)
    assert (code, err) == (143, ""), (out, err)
    assert steps_of(workdir)[-1] == saved_step(out)
    if receiver == "process 1":
        code, out, err = finish(launch(commands, *SMALL, f"--workdir={workdir}"))
        assert (code, err) == (0, ""), (out, err)
        expect_same_end(workdir, together)


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_process_that_never_arrives_is_waited_for_only_so_long(commands, tmp_path, index):
    workdir = tmp_path / "run"
    alone = start_one(commands, workdir, index, free_port(), "--config.distributed.timeout_seconds=3")
    code, out, err = finish(alone, seconds=60)
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 1 and len(told) == 1 and "did not find all others of 2 processes within 3 s" in told[0], (
        err
    )
    assert not workdir.exists() and not out


def test_what_only_the_first_process_finds_ends_all_with_its_line(commands, together, tmp_path):
    """A folder in use, settings of another run, and a configuration that all find wrong."""
    holder = commands.start_training(tmp_path / "run", SINGLE_STEPS)
    wait_until(lines_written(tmp_path / "run", 1), holder)
    holder.send_signal(signal.SIGSTOP)
    code, out, err = finish(launch(commands, *SMALL, f"--workdir={tmp_path / 'run'}"))
    holder.kill()
    holder.communicate()
    assert (code, out) == (1, "") and re.fullmatch(r"error: workdir .* is in use by another run .*\n", err)
    code, out, err = finish(launch(commands, *SMALL, f"--workdir={together}", "--config.seed=1"))
    assert code == 2 and re.fullmatch(r"error: seed: this run was started with 0, now it is 1; .*\n", err)
    code, out, err = finish(
        launch(commands, *SMALL, f"--workdir={tmp_path / 'new'}", "--config.batch_size=18")
    )
    assert code == 2 and re.fullmatch(r"error: batch_size: 18 does not divide over 4 devices; .*\n", err), err
    assert not (tmp_path / "new").exists()


def test_other_data_in_one_process_is_named(commands, tmp_path):
    processes, port = [], free_port()
    for index, num_train in enumerate((700, 701)):
        SmallSet(num_train=num_train).write(tmp_path / f"data{index}")
        words = ["--config.data.name=mnist", f"--config.data.dir={tmp_path / f'data{index}'}"]
        processes.append(start_one(commands, tmp_path / "run", index, port, *words))
    for process in processes:
        code, _, err = finish(process, seconds=60)
        assert code == 1 and "the images of process 1 differ from those of process 0" in err, err
    assert not (tmp_path / "run").exists()


def test_a_finished_run_says_so_to_several_processes(commands, together):
    code, out, err = finish(launch(commands, *SMALL, f"--workdir={together}"))
    assert (code, err) == (0, "") and out.count("this run is finished, nothing to do") == 1


def test_joining_needs_to_know_whom(commands, tmp_path):
    done = commands.run("train", *SMALL, f"--workdir={tmp_path}", "--config.distributed.initialize=true")
    expect_one_line(done, 2, "distributed.coordinator_address: is not set, and not found in the environment")


def expect_close(arrays, expected, tolerance):
    """Relative in norm, array by array."""
    assert arrays.keys() == expected.keys()
    for name, wanted in expected.items():
        difference = np.linalg.norm(np.float64(arrays[name]) - np.float64(wanted))
        scale = np.linalg.norm(np.float64(wanted))
        assert difference <= tolerance * scale, f"{name}: {difference:.2e} of {scale:.2e}"


# The main, with float64 wherever the code says float32; JAX_ENABLE_X64 makes that possible.
IN_FLOAT64 = """
import runpy, sys
import jax.numpy
jax.numpy.float32 = jax.numpy.float64
sys.argv[0] = "train"
runpy.run_module("mnist_jax.train", run_name="__main__")
"""


@pytest.mark.slow
def test_fifty_steps_in_float64_are_the_same_to_ten_digits(commands, tmp_path):
    program = [sys.executable, "-c", IN_FLOAT64]

    def on(devices):
        return commands.on_devices(devices, JAX_ENABLE_X64="1")

    for devices in (1, 2, 4, 8):
        on(devices).train(tmp_path / str(devices), *FIFTY_STEPS, program=program)
    port, two = free_port(), tmp_path / "2 x 2"
    processes = [start_one(on(2), two, index, port, *FIFTY_STEPS, program=program) for index in range(2)]
    for process in processes:
        code, _, err = finish(process)
        assert code == 0, err
    reference = arrays_of(tmp_path / "1")
    assert reference["['state']['params']['conv0']['kernel']"].dtype == np.float64
    assert reference["['log']['loss_sum']"].dtype == np.float64
    for name in ("2", "4", "8", "2 x 2"):
        expect_close(arrays_of(tmp_path / name), reference, 1e-10)


def test_fifty_steps_are_the_same_on_any_number_of_devices(commands: Commands, tmp_path):
    runs = {}
    for devices in (1, 8):  # in float64, above, on 2 and 4 as well
        commands.on_devices(devices).train(tmp_path / str(devices), *FIFTY_STEPS)
        runs[devices] = tmp_path / str(devices)
    code, out, err = finish(launch(commands, *SMALL, f"--workdir={tmp_path / 'two'}", *FIFTY_STEPS))
    assert (code, err) == (0, ""), (out, err)
    runs["2 x 2"] = tmp_path / "two"
    reference = runs.pop(1)
    losses = [line["loss"] for line in read_metrics(reference)]
    for devices, workdir in runs.items():
        assert steps_of(workdir) == [50]
        summary = json.loads((workdir / "summary.json").read_bytes())
        assert summary["num_devices"] == (4 if devices == "2 x 2" else devices)
        ours = [line["loss"] for line in read_metrics(workdir)]
        np.testing.assert_allclose(ours, losses, rtol=1e-4, err_msg=str(devices))
        expect_close(arrays_of(workdir), arrays_of(reference), 1e-4)
