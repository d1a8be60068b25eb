"""Whole commands are timed to their exit, in turn, and laid out with medians and ratios."""

import pytest

from benchmarks import wall
from benchmarks.result_files import make_result
from mnist_jax.cli import run_main
from mnist_jax.errors import RunError


@pytest.fixture
def checkout(tmp_path):
    """A package whose module takes 64 MB and a tenth of a second, and fails where it is told to."""
    package = tmp_path / "checkout" / "tiny"
    package.mkdir(parents=True)
    (package / "work.py").write_text(
        "import os, sys, time\nblock = b'1' * 2**26\ntime.sleep(0.1)\n"
        "assert os.environ['JAX_COMPILATION_CACHE_DIR']\n"
        "sys.exit('error: told to fail' if sys.argv[1:] == ['fail'] else 0)\n"
    )
    return package.parent


def test_a_command_is_timed_to_its_exit_with_its_memory(checkout, tmp_path):
    usage = wall.time_command(["tiny.work"], checkout, tmp_path / "cache")
    assert usage.seconds >= 0.1 and usage.cpu_seconds > 0
    assert 2**26 < usage.peak_bytes < 2**31
    with pytest.raises(RunError, match="tiny.work: error: told to fail"):
        wall.time_command(["tiny.work", "fail"], checkout, tmp_path / "cache")


def test_commands_are_run_cold_then_warm_and_checkouts_in_turn(monkeypatch, tmp_path):
    seen = []

    def time_command(words, checkout, cache):
        seen.append((words[0].split(".")[1], checkout.name, cache.exists()))
        cache.mkdir(exist_ok=True)
        return wall.Usage(10.0 if checkout.name == "new" else 20.0, 1.0, 10**9)

    monkeypatch.setattr(wall, "time_command", time_command)
    checkouts = {"this": tmp_path / "new", "against": tmp_path / "old"}
    usages = wall.measure(
        ["train", "predict"], "configs/smoke.py", checkouts, tmp_path, tmp_path, cold_rounds=1, rounds=2
    )
    assert seen[:6] == [
        ("train", "new", False),
        ("train", "old", False),
        ("train", "old", True),
        ("train", "new", True),
        ("train", "new", True),
        ("train", "old", True),
    ]
    assert [name for name, _, _ in seen[6:]] == ["predict"] * 6
    rows = wall.summarize(usages)
    assert [(row["command"], row["cache"]) for row in rows] == [
        (name, cache) for name in ("train", "predict") for cache in ("cold", "warm")
    ]
    assert all(row["median_ratio"] == 0.5 and row["seconds"] == 10.0 for row in rows)
    assert rows[1]["seconds_of_rounds"] == [10.0, 10.0]


def test_the_table_says_what_was_run_on_what():
    usages = {"train": {"this": {kind: [wall.Usage(3.0, 5.0, 5 * 10**8)] for kind in ("cold", "warm")}}}
    settings = {"rounds": 1, "cold_rounds": 1, "against": "", "config_file": "configs/fast.py"}
    figures = {"dataset": {"name": "mnist", "num_test": 10_000}, "commands": wall.summarize(usages)}
    text = wall.table(make_result("wall", "cpu: test", settings, figures, {}))
    assert "| `train`, `fast.py` | kept | 3.0 | 5.0 | 0.50 GB |" in text
    assert "mnist, 10,000 test images" in text


def test_flags_decide_what_is_run(monkeypatch, capsys, tmp_path):
    asked = []
    usages = {"predict": {"this": {kind: [wall.Usage(3.0, 5.0, 5 * 10**8)] for kind in ("cold", "warm")}}}
    monkeypatch.setattr(wall, "make_run", lambda folder, config, workdir: asked.append((config, workdir)))
    monkeypatch.setattr(wall, "measure", lambda names, *more: asked.append((names, more[-2:])) or usages)
    monkeypatch.setattr(wall, "read_config", lambda run: ({}, {"dataset": {"name": "a", "num_test": 1}}))
    words = ["--config=smoke", "--commands=report,predict", "--rounds=3", "--cold_rounds=2", "--workdir=w"]
    assert run_main(wall.main, wall.COMMAND, words) == 0
    assert asked == [("smoke", "w"), (["predict", "report"], (2, 3))]
    assert "`predict` of one picture | kept | 3.0" in capsys.readouterr().out
    assert run_main(wall.main, wall.COMMAND, ["--commands=train,export"]) == 2
    assert "no command 'export'; expected some of train, evaluate" in capsys.readouterr().err


@pytest.mark.slow
def test_the_smallest_run_of_the_real_commands(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("MNIST_JAX_DATA_DIR", raising=False)
    result = tmp_path / "wall.json"
    words = ["--config=configs/smoke.py", "--commands=predict", "--rounds=1", f"--json={result}"]
    assert run_main(wall.main, wall.COMMAND, words) == 0
    assert "`predict` of one picture" in capsys.readouterr().out
    assert result.exists()
