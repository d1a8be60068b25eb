"""What a person sees: the text of each part, and that nothing is printed where nothing should be."""

import io
import subprocess
import sys

import pytest

from mnist_jax.terminal.console import RunConsole, RunDescription, model_summary_lines

RUN = {
    "version": "0.1.0",
    "device": "cpu: AMD EPYC, 2 cores",
    "num_devices": 1,
    "num_processes": 1,
    "data_name": "mnist",
    "data_source": "folder /data/mnist",
    "data_sha256": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "num_examples": {"train": 60000, "test": 10000},
    "image_shape": (28, 28, 1),
    "num_classes": 10,
    "model_name": "cnn",
    "num_params": 596330,
    "dtype": "float32",
    "num_epochs": 5,
    "steps_per_epoch": 937,
    "batch_size": 64,
    "workdir": "/runs/[bold]x",
}
SUMMARY = {
    "test_accuracy": 0.9955,
    "test_errors": 45,
    "test_loss": 0.0183,
    "train_seconds": 400.0,
    "compile_seconds": 12.13,
    "eval_seconds": 21.0,
    "images_per_second": 752.2,
}
FILES = ["config.json", "checkpoints/"]


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


def test_opening_says_what_is_about_to_happen():
    file = io.StringIO()
    RunConsole(file=file).opening(RunDescription(**RUN))
    assert file.getvalue().splitlines()[1:] == [
        "  device    cpu: AMD EPYC, 2 cores",
        "  data      mnist: 60,000 train, 10,000 test; 28x28x1, 10 classes",
        "            folder /data/mnist (sha256 440fcabf73cc)",
        "  model     cnn: 596,330 trainable parameters, float32",
        "  steps     4,685 = 5 epochs of 937 steps of 64 images",
        "  workdir   /runs/[bold]x",
        "",
    ]


def test_opening_of_a_resumed_run_on_many_devices():
    file = io.StringIO()
    RunConsole(file=file).opening(RunDescription(**RUN | {"num_devices": 8, "num_processes": 2}), 937)
    assert "  device    cpu: AMD EPYC, 2 cores; 8 devices in 2 processes\n" in file.getvalue()
    assert "  resume    going on from step 937 of 4,685\n" in file.getvalue()


def test_closing_says_how_it_went_and_where_everything_is():
    file = io.StringIO()
    run = RunDescription(**RUN | {"workdir": "/runs/a b", "fallback": "embedded digits"})
    RunConsole(file=file).closing(run, SUMMARY, FILES, best="99.58% on test at step 3,748")
    assert file.getvalue().splitlines() == [
        "",
        "test accuracy 99.55%  45 errors in 10,000, loss 0.0183",
        "  data      embedded digits",
        "  best      99.58% on test at step 3,748",
        "  time      6 min 40 s training, 12.1 s compiling, 21.0 s evaluating",
        "  speed     752 images/s while training",
        "  files     /runs/a b",
        "            config.json  checkpoints/",
        "  next      python -m mnist_jax.evaluate --workdir '/runs/a b'",
    ]


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_the_box_holds_every_word_at_any_width(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    text = "Training on the embedded digits [instead]: accuracies are NOT those of the full MNIST."
    file = Terminal()
    RunConsole(file=file).notice(text, title="NOT MNIST")
    shown = file.getvalue()
    assert "NOT MNIST" in shown
    assert all(word in shown for word in text.split())
    lines = [line for line in shown.splitlines() if "┃" in line or "━" in line]
    assert len(lines) >= 5


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_where_none_is_wanted(monkeypatch, variables):
    for name, value in ({"TERM": "xterm-256color"} | variables).items():
        monkeypatch.setenv(name, value)
    file = Terminal()
    console = RunConsole(file=file)
    console.note("mended")
    assert file.getvalue() == "mended\n"
    assert console.live == ("TERM" not in variables)


def test_a_console_that_is_not_enabled_prints_nothing(capsys):
    console = RunConsole(enabled=False)
    console.notice("x")
    console.opening(RunDescription(**RUN))
    console.model_summary([("a", "Dense", (None, 10), 110)], num_trainable=110, num_non_trainable=0)
    console.note("x")
    console.closing(RunDescription(**RUN), SUMMARY, FILES)
    assert capsys.readouterr() == ("", "")


def test_model_summary_is_aligned_clipped_and_totalled():
    rows = [("conv_0", "Conv", (None, 26, 26, 32), 320), ("x" * 60, "BatchNorm" * 5, (None,) * 12, 128)]
    lines = model_summary_lines(rows, num_trainable=384, num_non_trainable=64)
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 78
    assert lines[2].split() == ["conv_0", "Conv", "(None,", "26,", "26,", "32)", "320"]
    assert [line.split()[-1] for line in lines[-3:]] == ["384", "64", "448"]


def test_model_summary_is_printed_as_it_is():
    file = io.StringIO()
    rows = [("logits", "Dense", (None, 10), 5130)]
    RunConsole(file=file).model_summary(rows, num_trainable=5130, num_non_trainable=0)
    expected = model_summary_lines(rows, num_trainable=5130, num_non_trainable=0)
    assert [line.replace("─", "-") for line in file.getvalue().splitlines()] == [*expected, ""]


def test_importing_is_light():
    program = "import sys, mnist_jax.terminal.progress; print({'rich', 'jax', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
