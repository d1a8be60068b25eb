"""The progress of training, against a clock of the test's own."""

import io
import os
import pty
import re
import subprocess
import sys

import pytest

from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.progress import Progress

EPOCH = {"train_loss": 0.5, "train_accuracy": 0.918, "eval_loss": 0.05, "eval_accuracy": 0.991}
METRICS = {"loss": 0.25, "accuracy": 0.92}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def make_progress(**changes):
    file = io.StringIO()
    arguments = {"num_epochs": 5, "steps_per_epoch": 100, "batch_size": 64, "clock": Clock()} | changes
    return Progress(RunConsole(file=file), **arguments), file


def test_a_row_per_epoch_under_one_head():
    progress, file = make_progress()
    with progress:
        for epoch in (1, 2):
            progress.epoch_done(epoch, eval_split="test", seconds=85.0, images_per_second=703.2, **EPOCH)
    head, *rows = file.getvalue().splitlines()
    assert re.split(r"  +", head.strip()) == [
        "epoch", "train loss", "train acc", "test loss", "test acc", "time", "images/s",
    ]  # fmt: skip
    expected = ["0.5000", "91.80%", "0.0500", "99.10%", "1 min 25 s", "703"]
    assert [re.split(r"  +", row.strip()) for row in rows] == [["1/5", *expected], ["2/5", *expected]]
    assert {len(line) for line in (head, *rows)} == {len(head)}
    assert len(head) <= 79


def test_the_head_names_the_split():
    progress, file = make_progress()
    progress.epoch_done(1, eval_split="validation", seconds=1.0, images_per_second=703.2, **EPOCH)
    assert file.getvalue().split()[5:9] == ["val", "loss", "val", "acc"]


def test_plain_lines_come_every_half_minute():
    progress, file = make_progress()
    with progress:
        for step in range(10, 110, 10):
            progress._clock.now += 10
            progress.update(step, images_per_second=800.0, **METRICS)
    assert file.getvalue().splitlines() == [
        "  epoch 1/5  step 30/500  loss 0.2500  acc 92.00%  800 img/s  0:38 left",
        "  epoch 1/5  step 60/500  loss 0.2500  acc 92.00%  800 img/s  0:35 left",
        "  epoch 1/5  step 90/500  loss 0.2500  acc 92.00%  800 img/s  0:33 left",
    ]


def test_time_left_counts_the_steps_and_the_evaluations_to_come():
    progress, _ = make_progress(num_epochs=3)
    assert progress.seconds_left() is None
    progress.update(100, images_per_second=640.0, **METRICS)
    times = {"seconds": 10.0, "images_per_second": 640.0, "eval_seconds": 4.0}
    progress.epoch_done(1, eval_split="test", **times, **EPOCH)
    assert progress.seconds_left() == pytest.approx(200 * 64 / 640 + 2 * 4)
    progress.update(300, images_per_second=640.0, **METRICS)
    assert progress.seconds_left() == 0


def test_time_left_of_a_resumed_run_counts_only_what_is_left():
    progress, _ = make_progress(first_step=450)
    progress.update(460, images_per_second=640.0, **METRICS)
    assert progress.seconds_left() == pytest.approx(40 * 64 / 640)


def test_time_left_is_steadied_and_ignores_a_rate_of_nothing():
    progress, _ = make_progress()
    progress.update(100, images_per_second=640.0, **METRICS)
    progress.update(100, images_per_second=64.0, **METRICS)
    assert progress.seconds_left() == pytest.approx(400 * 64 * (0.8 / 640 + 0.2 / 64))
    progress.update(100, images_per_second=0.0, **METRICS)
    assert progress.seconds_left() == pytest.approx(400 * 64 * (0.8 / 640 + 0.2 / 64))


def test_nothing_is_printed_where_the_console_is_not_enabled(capsys):
    progress = Progress(RunConsole(enabled=False), num_epochs=1, steps_per_epoch=10, batch_size=64)
    with progress:
        progress.phase("compiling")
        progress.update(10, images_per_second=800.0, **METRICS)
        progress.epoch_done(1, eval_split="test", seconds=1.0, images_per_second=800.0, **EPOCH)
    assert capsys.readouterr() == ("", "")
    assert progress.seconds_left() == 0


ON_TERMINAL = """
import sys
from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.progress import Progress
now = iter(range(10**6))
sizes = {"num_epochs": 2, "steps_per_epoch": 100, "batch_size": 64}
with Progress(RunConsole(), **sizes, clock=lambda: next(now)) as progress:
    progress.phase("compiling")
    progress.update(150, loss=0.25, accuracy=0.92, images_per_second=800.0)
    progress.phase("evaluating")
    if sys.argv[1] == "raise":
        raise SystemExit(3)
    progress.epoch_done(2, train_loss=0.5, train_accuracy=0.918, eval_split="test", eval_loss=0.05,
                        eval_accuracy=0.991, seconds=85.0, images_per_second=703.2)
"""


def run_on_terminal(columns, argument="end"):
    """What the program sends to a real (pseudo) terminal, and its exit code."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    environ.pop("NO_COLOR", None)
    command = [sys.executable, "-c", ON_TERMINAL, argument]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    sent = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # the terminal's other end is closed
            break
        if not block:
            break
        sent += block
    os.close(ours)
    return process.wait(), sent.decode()


def screen_after(sent):
    """The lines left on a terminal that was sent this: text, returns, line feeds, erased lines, cursor up."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", sent):
        if token == "\r":
            column = 0
        elif token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token.startswith("\x1b["):
            row -= int(token[2:-1]) if token.endswith("A") else 0
        else:
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
            column += len(token)
    return [line for line in lines if line.strip()]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_the_bar_fits_the_terminal_and_is_gone_at_the_end(columns):
    code, sent = run_on_terminal(columns)
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
    lines = re.split(r"[\r\n]+", plain)
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("epoch 2/2") for line in lines)
    if columns >= 80:
        bar = next(line for line in lines if "loss 0.2500" in line)
        numbers = r"150/200  loss 0\.2500  acc 92\.00%  800 img/s     0:04 left"
        assert re.fullmatch(rf"epoch 2/2  \S+ ?━*  {numbers}\s*", bar)
        assert any(line.rstrip().endswith("compiling") for line in lines)
        # It keeps its place and length, whatever stands beside it.
        bars = {re.search("[━╸╺]( ?[━╸╺])*", line).span() for line in lines if line.startswith("epoch 2/2  ")}
        bars |= {re.search("[━╸╺]( ?[━╸╺])*", line).span() for line in lines if "compiling" in line}
        assert len(bars) == 1
    screen = screen_after(sent)
    assert "99.10%" in screen[-1]
    assert not any("150/200" in line or "━" in line for line in screen)


def test_the_cursor_is_never_left_hidden():
    code, sent = run_on_terminal(80, "raise")
    assert code == 3
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l")
    # Also while the bar is shown, for a kill -9 leaves nobody to bring it back.
    assert sent.index("\x1b[?25h") < sent.index("compiling")
