"""The table script: draws from results, writes between the markers only."""

import json
import shutil

import pytest

from benchmarks import readme_table
from benchmarks.readme_table import ACCURACY_BEGIN, ACCURACY_END, BEGIN, END
from benchmarks.result_files import RESULTS_DIR
from mnist_jax import cli

COMPARED = {
    "benchmark": "compare",
    "device": "cpu: Test, 2 cores",
    "machine": {"date": "2026-01-02T03:04:05Z", "git_commit": "0123456789abcdef"},
    "versions": {"jax": "0.10", "torch": "2.13"},
    "settings": {"batch_size": 64, "dtype": "float32", "rounds": 5},
    "contenders": {
        "torch_eager": {
            "title": "PyTorch eager",
            "median_seconds_per_step": 0.1,
            "images_per_second": 640.0,
            "ours_is_times_faster": {"median": 2.0},
        },
        "ours": {"title": "mnist_jax", "median_seconds_per_step": 0.05, "images_per_second": 1280.0},
    },
}
ACCURACY = {
    **COMPARED,
    "benchmark": "time_to_accuracy",
    "settings": {"config_file": "configs/fast.py", "target": 0.99},
    "split": "test",
    "mean_accuracy": 0.9912,
    "sd_accuracy": 0.0004,
    "mean_train_seconds": 4.5,
    "n": 5,
}
DIRTY = {
    **ACCURACY,
    "settings": {"config_file": "configs/slow.py", "target": 0.99},
    "machine": {"date": "2026-01-03T03:04:05Z", "git_commit": "fedcba9876543210-dirty"},
}


RESNET = {
    **COMPARED,
    "settings": {**COMPARED["settings"], "network": "resnet", "image_shape": [32, 32, 3]},
    "ours_is_times_faster_than": {
        "stock_flax": {"contender": "stock_flax", "median": 7.0},
        "best_torch": {"contender": "torch_eager", "median": 1.5},
    },
}


WALL = {
    **COMPARED,
    "benchmark": "wall",
    "settings": {"rounds": 5, "cold_rounds": 1, "against": "", "config_file": "configs/fast.py"},
    "dataset": {"name": "mnist", "num_test": 10_000},
    "commands": [
        {"command": "train", "cache": "warm", "seconds": 3.0, "cpu_seconds": 5.0, "peak_bytes": 5 * 10**8}
    ],
}


@pytest.fixture
def folder(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    older = {**COMPARED, "machine": {**COMPARED["machine"], "date": "2025-01-01T00:00:00Z"}}
    older["contenders"] = {"ours": {**COMPARED["contenders"]["ours"], "images_per_second": 1.0}}
    kept = {"z": older, "b": COMPARED, "c": ACCURACY, "d": DIRTY, "e": RESNET, "f": WALL}
    for name, result in kept.items():
        (results / f"{name}.json").write_text(json.dumps(result))
    (tmp_path / "README.md").write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nmore\n")
    return tmp_path


def run(folder, *words):
    arguments = ["--readme", str(folder / "README.md"), "--results", str(folder / "results"), *words]
    return cli.run_main(readme_table.main, readme_table.COMMAND, arguments)


def test_the_newest_results_are_drawn_between_the_markers(folder):
    assert run(folder) == 0
    text = (folder / "README.md").read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n| one training step")
    assert text.endswith(f"{END}\n\nmore\n")
    assert "old" not in text
    assert text.index("| mnist_jax | 1,280 | 50.00 |  |") < text.index(
        "| PyTorch eager | 640 | 100.00 | 2.00 |"
    )
    assert "jax 0.10, torch 2.13; 2026-01-02, commit 0123456789ab\n" in text
    row = "99.12 ± 0.04 % | 4.50 | 5 | cpu: Test, 2 cores |"
    assert f"| `configs/fast.py` | {row} 2026-01-02, commit 0123456789ab |\n" in text
    assert f"| `configs/slow.py` | {row} 2026-01-03, commit fedcba987654-dirty |\n" in text
    assert "no augmentation" in text
    assert "| resnet, 32x32x3, batch 64 | 1,280 | 1.50 |  | 7.00 |\n" in text
    assert "| `train`, `fast.py` | kept | 3.0 | 5.0 | 0.50 GB |\n" in text
    assert run(folder, "--check") == 0
    before = text
    assert run(folder) == 0
    assert (folder / "README.md").read_text() == before


def test_check_tells_an_old_table_and_changes_nothing(folder, capsys):
    before = (folder / "README.md").read_text()
    assert run(folder, "--check") == 1
    assert "not up to date" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == before


@pytest.mark.parametrize("text", ["none", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_readme_without_its_markers_is_refused(folder, text, capsys):
    (folder / "README.md").write_text(text)
    assert run(folder) == 1
    assert BEGIN in capsys.readouterr().err
    assert (folder / "README.md").read_text() == text


def test_no_results_are_a_fault(folder, capsys):
    for file in (folder / "results").iterdir():
        file.unlink()
    assert run(folder) == 1
    assert "--keep" in capsys.readouterr().err


def test_accuracies_that_are_kept_are_drawn_between_markers_of_their_own(folder, capsys):
    shutil.copytree(RESULTS_DIR / "accuracy" / "default", folder / "results" / "accuracy" / "default")
    assert run(folder) == 1
    assert ACCURACY_BEGIN in capsys.readouterr().err
    readme = folder / "README.md"
    readme.write_text(f"{ACCURACY_BEGIN}\n{ACCURACY_END}\n{readme.read_text()}")
    assert run(folder) == 0
    part = readme.read_text().partition(ACCURACY_END)[0]
    assert "| [`default.py`](configs/default.py) | 99.63 ± 0.03% | 10 |" in part
    assert run(folder, "--check") == 0
