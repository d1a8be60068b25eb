"""A stopped, killed or damaged run goes on by the same command and ends as if nothing had happened."""

import json
import shutil
import signal
import sys
import time

from mnist_jax.storage.metrics_log import read_metrics
from tests.e2e.training_runs import (
    SINGLE_STEPS,
    STEPS_PER_EPOCH,
    TOTAL_STEPS,
    arrays_of,
    expect_one_line,
    expect_same_end,
    lines_written,
    saved_step,
    steps_of,
    wait_until,
    without_times,
)


def remove_end(workdir, *, last_checkpoint=True):
    """Takes away what a run writes last, as if it had been killed before that."""
    (workdir / "summary.json").unlink()
    if last_checkpoint:
        shutil.rmtree(workdir / "checkpoints" / str(TOTAL_STEPS))


def test_sigterm_then_ctrl_c_then_the_end(commands, uninterrupted, tmp_path):
    workdir, done = tmp_path / "run", []
    for number, code, lines in ((signal.SIGTERM, 143, 2), (signal.SIGINT, 130, 14)):
        process = commands.start_training(workdir, SINGLE_STEPS)
        wait_until(lines_written(workdir, lines), process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (code, "")
        assert f"stopped by {number.name}" in out
        done.append(saved_step(out))
        assert steps_of(workdir)[-1] == done[-1] and done[-1] % STEPS_PER_EPOCH
        assert not (workdir / "summary.json").exists()
    assert 0 < done[0] < done[1] < TOTAL_STEPS
    commands.train(workdir)
    expect_same_end(workdir, uninterrupted)


# The main, with a save that hangs from the moment of the first signal on.
HANGING = """
import runpy, sys, time
import mnist_jax.run.loop as loop
from mnist_jax.checkpoints.manager import Checkpoints

class Hanging(Checkpoints):
    def wait(self):
        if sys._hang():
            print("hanging", flush=True)
            time.sleep(600)
        super().wait()

loop.Checkpoints = Hanging
start = loop._stopped
sys._hang = lambda: False
def stopped(*arguments):
    sys._hang = lambda: True
    return start(*arguments)
loop._stopped = stopped
sys.argv[0] = "train"
runpy.run_module("mnist_jax.train", run_name="__main__")
"""


def test_a_second_signal_exits_at_once_and_harms_nothing(commands, uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    start = [sys.executable, "-c", HANGING]
    process = commands.start_training(workdir, SINGLE_STEPS, program=start)
    wait_until(lines_written(workdir, 2), process)
    process.send_signal(signal.SIGTERM)
    while "hanging" not in process.stdout.readline():
        pass
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "second SIGTERM: exiting at once, without saving" in err
    commands.train(workdir)
    expect_same_end(workdir, uninterrupted)


def test_a_signal_before_the_first_step_ends_at_once(commands, uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    process = commands.start_training(workdir)
    wait_until(lambda: (workdir / "config.json").exists(), process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, (out, err)
    commands.train(workdir)
    expect_same_end(workdir, uninterrupted)


def test_metrics_ahead_of_the_checkpoint_are_cut_and_a_torn_line_is_mended(commands, finished, uninterrupted):
    """The folder has spaces in its name and is given as a relative path through a symbolic link."""
    remove_end(finished)
    with open(finished / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 150, "epo')
    spaced = finished.rename(finished.with_name("a run of mine"))
    (spaced.parent / "link").symlink_to(spaced.name, target_is_directory=True)
    done = commands.train("link", cwd=spaced.parent)
    assert "cut 10 lines past step 108 and removed 1 broken line" in done.stdout
    expect_same_end(spaced, uninterrupted)


def test_killed_between_the_last_checkpoint_and_the_summary(commands, finished, uninterrupted):
    remove_end(finished, last_checkpoint=False)
    commands.train(finished)
    expect_same_end(finished, uninterrupted)


def flip_a_byte(checkpoint) -> str:
    """In the largest file of array data, whose path below the checkpoint is returned."""
    largest = max((checkpoint / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0x10
    largest.write_bytes(content)
    return largest.relative_to(checkpoint).as_posix()


def test_damaged_checkpoints_are_named_and_the_one_before_is_used(commands, finished, uninterrupted):
    """The newest has a flipped byte; beside it are a half-copied, a renamed and an empty one."""
    remove_end(finished, last_checkpoint=False)
    checkpoints = finished / "checkpoints"
    shutil.copytree(checkpoints / "144", checkpoints / "200", ignore=lambda *_: ["manifest.json", "meta"])
    shutil.copytree(checkpoints / "144", checkpoints / "300")
    (checkpoints / "999").mkdir()
    flipped = flip_a_byte(checkpoints / "144")
    reasons = {
        144: f"{flipped} does not match its SHA-256",
        200: "it has no manifest.json",
        300: "its manifest is that of step 144",
        999: "the folder is empty",
    }
    evaluated = commands.run("evaluate", f"--workdir={finished}")
    assert evaluated.returncode == 0 and evaluated.stdout.startswith("step 108 "), evaluated.stderr
    for text in (evaluated.stderr, commands.train(finished).stdout):
        for step, reason in reasons.items():
            place = f"checkpoint {step} in {checkpoints} is damaged and skipped"
            assert f"{place}: {reason}" in " ".join(text.split()), text
    for step in (200, 300, 999):
        shutil.rmtree(checkpoints / str(step), ignore_errors=True)
    expect_same_end(finished, uninterrupted)


def test_a_finished_run_says_so(in_process, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != ".lock"}
    done = in_process("train", f"--workdir={finished}")
    assert done.returncode == 0 and "this run is finished, nothing to do" in done.stdout
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != ".lock"}
    assert {k: v for k, v in after.items() if k.is_file()} == {k: v for k, v in before.items() if k.is_file()}


def test_a_finished_run_with_a_constant_rate_can_be_made_longer(commands, finished, tmp_path):
    commands.train(finished, "--config.num_epochs=5")
    commands.train(tmp_path / "long", "--config.num_epochs=5")
    longer, wanted = arrays_of(finished), arrays_of(tmp_path / "long")
    assert steps_of(finished)[-1] == 180
    assert all(longer[name].tobytes() == wanted[name].tobytes() for name in wanted)
    # At the old end the test set was read, which a run of this length does once, at its own end.
    lines = [without_times(line) for line in read_metrics(finished)]
    extra = [line for line in lines if line["split"] == "test" and line["step"] == TOTAL_STEPS]
    assert len(extra) == 1
    lines.remove(extra[0])
    assert lines == [without_times(line) for line in read_metrics(tmp_path / "long")]


def test_the_settings_of_another_run_are_refused_by_what_its_checkpoint_says(in_process, finished):
    """Also where config.json is gone: each checkpoint tells what it was made with."""
    remove_end(finished)
    words = ["--config.seed=1", "--config.batch_size=32", "--config.model.dense_features=9"]
    (finished / "config.json").unlink()
    done = in_process("train", f"--workdir={finished}", *words)
    assert done.returncode == 2
    assert [line.split("; ")[0] for line in done.stderr.splitlines()] == [
        "error: batch_size: this run was started with 16, now it is 32",
        "error: model.dense_features: this run was started with 8, now it is 9",
        "error: seed: this run was started with 0, now it is 1",
    ]
    assert steps_of(finished)[-1] == 108


def test_a_run_goes_on_with_another_number_of_devices(commands, finished):
    remove_end(finished)
    on_8 = commands.on_devices(8)
    on_8.train(finished, "--config.checkpoint.keep_latest=1")
    summary = json.loads((finished / "summary.json").read_bytes())
    assert summary["final_step"] == TOTAL_STEPS and summary["num_devices"] == 8
    evaluated = commands.run("evaluate", f"--workdir={finished}", "--json")
    assert json.loads(evaluated.stdout)["test_errors"] == summary["test_errors"]


def test_checkpoints_by_time_and_none_at_all(commands, in_process, tmp_path):
    often = tmp_path / "often"
    # As often as it goes: a save is waited for before the next one begins.
    words = ["--config.checkpoint.every_seconds=0.01", "--config.checkpoint.keep_latest=100"]
    commands.train(often, SINGLE_STEPS, "--config.num_epochs=1", *words)
    assert len(steps_of(often)) > 3
    never = tmp_path / "never"
    commands.train(never, "--config.num_epochs=1", "--config.checkpoint.enabled=False")
    assert steps_of(never) == []
    expect_one_line(in_process("evaluate", f"--workdir={never}"), 1, "no usable checkpoint")
