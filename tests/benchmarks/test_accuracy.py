"""What the README claims of accuracy: which commands it is trained by, and how the table is drawn."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import accuracy
from benchmarks.result_files import RESULTS_DIR
from mnist_jax import cli
from mnist_jax.errors import RunError

KEPT = RESULTS_DIR / accuracy.FOLDER


def run(*words):
    return cli.run_main(accuracy.main, accuracy.COMMAND, list(words))


@pytest.fixture
def commands(monkeypatch):
    """Takes the place of the trainings: what would have been run; each leaves the files kept of the like."""
    started = []

    def start(command):
        started.append(command)
        folder = Path(command[-1])
        shutil.copytree(KEPT / folder.name.partition("-")[0], folder, dirs_exist_ok=True)
        return 0

    monkeypatch.setattr(accuracy, "_exit_code", start)
    return started


def test_every_recipe_is_trained_by_a_command_of_the_package_and_named_files_exist(commands, tmp_path):
    for name, claim in accuracy.CLAIMS.items():
        for folder, words in accuracy.trainings(name, tmp_path):
            assert words[0] in ("study", "ensemble", "pseudo_label") and folder.parent == tmp_path
            assert (RESULTS_DIR.parents[1] / words[words.index("--config") + 1]).exists()
        assert claim.recipe.startswith("[`")
    folders = [folder.name for folder, _ in accuracy.trainings("ensemble_small", tmp_path)]
    assert folders == ["ensemble_small", *(f"ensemble_small-{number}" for number in range(2, 6))]


def test_rows_are_trained_where_they_go_on_and_then_drawn(commands, tmp_path, capsys):
    assert run("--only", "default,ensemble_small", "--workdir", str(tmp_path)) == 0
    assert len(commands) == 1 + 5
    assert commands[0][:4] == ["-m", "mnist_jax.study", "--config", "configs/default.py"]
    assert commands[0][-2:] == ["--workdir", str(tmp_path / "default")]
    assert commands[2][-3:] == [
        "--config.ensemble.seeds=5:9",
        "--workdir",
        str(tmp_path / "ensemble_small-2"),
    ]
    head, _, default, ensemble = capsys.readouterr().out.splitlines()
    assert head.startswith("| recipe | test accuracy | n |")
    cells = [cell.strip() for cell in default.strip("|").split("|")]
    assert cells[1:4] == ["99.63 ± 0.03%", "10", "99.61 to 99.65%"]
    assert cells[4] == "37 (31 to 41) of 10,000" and cells[-1] == "95504e8"
    assert "| 5 |" in ensemble


def test_a_command_that_fails_ends_it_and_says_which(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(accuracy, "_exit_code", lambda command: 143)
    with pytest.raises(RunError, match="default: .* ended with 143"):
        accuracy.train(tmp_path / "default", ["study"])
    assert run("--only", "fast", "--workdir", str(tmp_path)) == 1
    assert "fast: the command above ended with 143" in capsys.readouterr().err


def test_what_has_finished_is_drawn_without_the_rest(tmp_path):
    assert accuracy.draw(tmp_path).count("\n") == 1
    shutil.copytree(KEPT / "pseudo_label_random", tmp_path / "pseudo_label_random")
    labeled, alone = accuracy.draw(tmp_path).splitlines()[2:]
    assert "99.12 ± 0.03% | 3 |" in labeled and "98.52 ± 0.25% | 3 |" in alone


def test_results_are_kept_of_a_clean_commit_only(commands, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(accuracy, "RESULTS_DIR", tmp_path / "results")
    words = ("--only", "default", "--workdir", str(tmp_path / "runs"), "--keep")
    monkeypatch.setattr(accuracy, "git_commit", lambda: f"{'0' * 40}-dirty")
    assert run(*words) == 1 and not commands
    assert "expected a clean commit" in capsys.readouterr().err
    monkeypatch.setattr(accuracy, "git_commit", lambda: "0" * 40)
    assert run(*words) == 0
    kept = tmp_path / "results" / accuracy.FOLDER / "default"
    assert sorted(path.name for path in kept.iterdir()) == ["config.json", "results.jsonl", "summary.json"]
    summary = json.loads((kept / "summary.json").read_text())
    assert summary["kind"] == "study"
    assert summary == json.loads((tmp_path / "runs" / "default" / "summary.json").read_text())


def test_an_unknown_row_is_refused(capsys):
    assert run("--only", "defualt") == 2
    assert "there is no row 'defualt'; expected default, article" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_study_is_trained_resumed_and_drawn(monkeypatch, tmp_path, capsys):
    words = ("--config", "configs/smoke.py", "--seeds", "0:2", "--split", "test", "--side_by_side", "1")
    small = ("--config.data.train_examples=640", "--config.num_epochs=1")
    claim = accuracy.Claim("[`smoke.py`](configs/smoke.py)", "nothing", ("study", *words, *small))
    monkeypatch.setattr(accuracy, "CLAIMS", {"smoke": claim})
    assert run("--workdir", str(tmp_path)) == 0
    first = capsys.readouterr().out
    assert run("--workdir", str(tmp_path)) == 0
    assert capsys.readouterr().out == first and "| 2 |" in first.splitlines()[-1]
