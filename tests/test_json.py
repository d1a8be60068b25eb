"""Every command with ``--json``: one line of JSON on standard output, the text for people on stderr."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_jax import __version__, cli
from mnist_jax.__main__ import COMMANDS, load_command
from mnist_jax.studies.trainer import MemberTrainer, Trained
from mnist_jax.training.epoch import RunKeys
from tests.programs import QUICKLY_COMPILED

# The least that can be trained.
TINY = [
    "--config=smoke",
    "--config.num_epochs=1",
    "--config.batch_size=32",
    "--config.data.train_examples=64",
    "--config.model.features=(2,)",
    "--config.model.pool_after=(0,)",
    "--config.model.dense_features=4",
    "--config.augment.enabled=false",
]
LABELS = [
    "--config.pseudo_label.labeled_examples=20",
    "--config.pseudo_label.seeds=0:1",
    "--config.pseudo_label.threshold=0.101",
]

# The words of each command, those of which {run} is a finished run; and the keys of its answer.
CASES = {
    "train": (["--config=smoke", "--workdir={run}"], {"test_accuracy", "workdir", "finished", "report"}),
    "evaluate": (["--workdir={run}"], {"test_errors", "confusion_matrix", "step", "workdir"}),
    "predict": (["--workdir={run}", "{folder}/seven.png"], {"file", "label", "probability", "probabilities"}),
    "report": (["--workdir={run}"], {"report"}),
    "compare": (["{run}", "{folder}/other", "--output={folder}/c.html"], {"runs", "tests", "page"}),
    "verify": (["{run}"], {"workdir", "sha256", "intact", "checked", "faults"}),
    "demo": (["--workdir={run}", "--port=0"], {"url", "workdir", "step", "dataset"}),
    "export": (["--workdir={run}", "--out={folder}/net.bin"], {"file", "bytes", "metadata"}),
    "find_rate": (
        ["--workdir={folder}/f", *TINY, "--config.batch_size=16", "--config.data.train_examples=800"],
        {"learning_rate", "how", "lowest_loss_at", "workdir"},
    ),
    "study": (["--workdir={folder}/s", "--seeds=0:2", *TINY], {"statistics", "workdir", "finished"}),
    "ensemble": (
        ["--workdir={folder}/e", "--config.ensemble.seeds=0:2", *TINY],
        {"soft_vote", "workdir", "finished"},
    ),
    "pseudo_label": (["--workdir={folder}/p", *TINY, *LABELS], {"statistics", "workdir", "finished"}),
    "launch": (
        ["--processes=1", "--module=mnist_jax.evaluate", "--", "--workdir={run}"],
        {"test_errors", "workdir"},
    ),
    "list": (["models"], {"name", "description"}),
    "completion": (["zsh"], {"shell", "script"}),
}
# They serve until a signal, or start processes that write to the real streams.
PROCESSES = ("demo", "launch")


@pytest.fixture
def nothing_is_trained(monkeypatch):
    """Members as they were initialized, and no page: other tests are about those."""

    def train(self, seeds, *others):
        states = tuple(self.create_state(RunKeys.from_seed(seed)) for seed in seeds)
        return Trained(tuple(seeds), states, np.ones((len(seeds), 1)), train_seconds=1.0, compile_seconds=1.0)

    monkeypatch.setattr(MemberTrainer, "train", train)
    monkeypatch.setattr("mnist_jax.report.page.write_report", lambda workdir, **others: Path(workdir) / "x")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("json")
    pixels = np.zeros((30, 30), np.uint8)
    pixels[4:26, 14:17] = 255
    Image.fromarray(pixels).save(folder / "seven.png")
    return folder


@pytest.fixture
def words_of(folder, small_run, small_run_overrides):
    def words(name):
        more = small_run_overrides if name == "train" else []
        if name == "compare":
            shutil.copytree(small_run, folder / "other")
        return [word.format(run=small_run, folder=folder) for word in CASES[name][0]] + [*more, "--json"]

    return words


def check_answer(name, out):
    assert out.count("\n") == 1 and out.endswith("\n")
    answer = json.loads(out)
    first = answer[0] if name in ("predict", "list") else answer
    assert CASES[name][1] <= set(first)
    return answer


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in PROCESSES])
def test_a_command_answers_in_json(name, words_of, nothing_is_trained, capsys, monkeypatch):
    monkeypatch.delenv("MNIST_JAX_DATA_DIR", raising=False)
    run, command = load_command(name)
    assert cli.run_main(run, command, words_of(name)) == 0
    shown = capsys.readouterr()
    answer = check_answer(name, shown.out)
    if name != "predict":
        assert shown.err
    if name == "study":
        assert answer["statistics"]["accuracy"]["n"] == 2 and answer["finished"] is True


def start(*words):
    environment = {**os.environ, "XLA_FLAGS": QUICKLY_COMPILED}
    environment.pop("MNIST_JAX_DATA_DIR", None)
    return subprocess.Popen(
        [sys.executable, "-m", "mnist_jax", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_launch_passes_the_flag_on(words_of):
    out, err = start("launch", "--json", *words_of("launch")[:-1]).communicate(timeout=120)
    answer = check_answer("launch", out)
    assert f"test_errors {answer['test_errors']} of 1000" in err


def test_demo_says_where_it_is_as_soon_as_it_serves(words_of):
    with start("demo", *words_of("demo")) as process:
        answer = check_answer("demo", process.stdout.readline())
        assert answer["url"].startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        rest, err = process.communicate(timeout=60)
    assert rest == "" and f"draw at {answer['url']}" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_both_flags(name, capsys):
    run, command = load_command(name)
    assert cli.run_main(run, command, ["--version", "--no-such-flag"]) == 0
    assert capsys.readouterr().out == f"mnist-jax {__version__}\n"
    assert cli.run_main(run, command, ["--help"]) == 0
    assert "--json\n" in capsys.readouterr().out
    assert name in CASES


def test_a_command_with_a_json_of_its_own_keeps_it(capsys):
    own = cli.Flag("json", "", "also write the result to this file", non_empty=True, metavar="FILE")
    command = cli.Command("python -m benchmarks.made_up", "Measures nothing.", (own,))
    seen = []

    def main(arguments):
        print("measured")
        seen.append(arguments["json"])
        return 0

    assert cli.run_main(main, command, ["--json", "out.json"]) == 0
    assert seen == ["out.json"] and capsys.readouterr() == ("measured\n", "")
    assert cli.run_main(main, command, ["--help"]) == 0
    assert capsys.readouterr().out.count("--json") == 2  # in the line of usage and in the list


def test_a_command_that_fails_leaves_standard_output_empty(tmp_path, capsys):
    run, command = load_command("evaluate")
    assert cli.run_main(run, command, [f"--workdir={tmp_path}", "--json"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: workdir ")
    assert cli.run_main(run, command, ["--json"]) == 2
    assert capsys.readouterr().out == ""
