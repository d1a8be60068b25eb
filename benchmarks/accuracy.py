"""``python -m benchmarks.accuracy``: what the README claims of accuracy, trained again and drawn."""

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.result_files import RESULTS_DIR, choose, short_commit, without_data_folder
from mnist_jax import cli
from mnist_jax.errors import RunError
from mnist_jax.metrics.statistics import summarize
from mnist_jax.runtime.environment import git_commit
from mnist_jax.storage.json_files import CONFIG_FILE, SUMMARY_FILE, read_summary, write_json_atomic
from mnist_jax.storage.results import RESULTS_FILE, read_results
from mnist_jax.terminal.format import format_duration

FOLDER = "accuracy"  # below that of the results


class Claim(NamedTuple):
    """What a row of the table is trained by."""

    recipe: str  # in Markdown
    chosen_on: str  # the images that the recipe's settings were chosen on
    command: tuple[str, ...]  # a main of the package and its words
    # Words of each training of the command; more than one where a training gives a single figure.
    repeats: tuple[tuple[str, ...], ...] = ((),)


def _study(config: str, seeds: str) -> tuple[str, ...]:
    return (
        "study",
        "--config",
        f"configs/{config}.py",
        "--seeds",
        seeds,
        "--split",
        "test",
        "--side_by_side",
        "1",
    )


def _pseudo_label(seeds: str, **settings: float) -> tuple[str, ...]:
    words = (f"--config.pseudo_label.{name}={value}" for name, value in {**settings, "seeds": seeds}.items())
    return ("pseudo_label", "--config", "configs/pseudo_label.py", *words)


CLAIMS = {
    "default": Claim("[`default.py`](configs/default.py)", "validation splits", _study("default", "20:30")),
    "article": Claim("[`article.py`](configs/article.py)", "the article's own", _study("article", "1:6")),
    "ensemble_small": Claim(
        "[`ensemble_small.py`](configs/ensemble_small.py), soft vote of four",
        "writers held out",
        ("ensemble", "--config", "configs/ensemble_small.py"),
        tuple((f"--config.ensemble.seeds={first}:{first + 4}",) for first in range(1, 21, 4)),
    ),
    "pseudo_label": Claim(
        "[`pseudo_label.py`](configs/pseudo_label.py), 1,000 labels, 600 of them queried",
        "writers held out",
        _pseudo_label("0:3"),
    ),
    "pseudo_label_100": Claim(
        "[`pseudo_label.py`](configs/pseudo_label.py), 100 labels, 50 of them queried",
        "writers held out",
        _pseudo_label(
            "0:3",
            labeled_examples=100,
            queried_examples=50,
            threshold=0.7,
            rounds=10,
            teacher_steps=500,
            student_steps=1500,
        ),
    ),
    "pseudo_label_random": Claim(
        "[`pseudo_label.py`](configs/pseudo_label.py), 1,000 labels drawn at random",
        "10,000 labeled images, held out",
        (
            *_pseudo_label("0:3", queried_examples=0, rounds=2, student_steps=5000, threshold=0.8),
            "--config.optim.label_smoothing=0.0",
        ),
    ),
    "fast_995": Claim("[`fast_995.py`](configs/fast_995.py)", "writers held out", _study("fast_995", "5:10")),
    "fast": Claim("[`fast.py`](configs/fast.py)", "a validation split", _study("fast", "0:5")),
}

_HEAD = (
    "recipe",
    "test accuracy",
    "n",
    "95% interval of the mean",
    "errors",
    "training time",
    "settings chosen on",
    "commit",
)

COMMAND = cli.Command(
    "python -m benchmarks.accuracy",
    "Trains what the table of accuracies claims, which takes hours on a CPU, and prints the table.\n"
    "The same command goes on where it was stopped.",
    (
        cli.Flag("only", "", f"rows by name, with commas: {', '.join(CLAIMS)}", metavar="A,B"),
        cli.Flag("workdir", "runs/accuracy", "folder of the trainings", non_empty=True, metavar="DIR"),
        cli.Flag("keep", False, "also keep the results in benchmarks/results/accuracy/"),
        cli.Flag("draw", False, "train nothing, print the table of what is kept"),
    ),
)


class Row(NamedTuple):
    """A row of the table, read from the folders of its trainings."""

    recipe: str
    accuracies: list[float]
    num_test: int
    train_seconds: list[float]  # of each; empty where it was not recorded
    chosen_on: str
    commit: str


def main(arguments: cli.Arguments) -> int:
    """Trains each row's commands, keeps their results, and prints the table."""
    names = choose(arguments["only"], CLAIMS, "row")
    if arguments["draw"]:
        print(draw(RESULTS_DIR / FOLDER, names))
        return 0
    if arguments["keep"]:
        require_clean_commit()
    workdir = Path(arguments["workdir"])
    everything = [training for name in names for training in trainings(name, workdir)]
    for folder, words in everything:
        train(folder, words)
    # Not before the end: what is kept changes the working tree, and each training names its commit.
    if arguments["keep"]:
        for folder, _ in everything:
            keep(folder, RESULTS_DIR / FOLDER / folder.name)
    print(draw(workdir, names))
    return 0


def require_clean_commit() -> None:
    """Refuses to keep what no commit names.

    Raises:
        RunError: files are changed, or there is no commit.
    """
    commit = git_commit() or ""
    if not commit or commit.endswith("-dirty"):
        raise RunError(
            f"--keep: the working tree is at {commit or 'no commit'}; expected a clean commit, so that the "
            "row names what was run"
        )


def trainings(name: str, workdir: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yields the folder and the words of each training of a row: ``NAME``, ``NAME-2`` and so on."""
    claim = CLAIMS[name]
    for number, words in enumerate(claim.repeats, start=1):
        folder = workdir / (name if number == 1 else f"{name}-{number}")
        yield folder, [*claim.command, *words]


def train(folder: Path, words: Sequence[str]) -> None:
    """Runs one command, which goes on where it was stopped.

    Raises:
        RunError: it failed.
    """
    main_name, *rest = words
    command = ["-m", f"mnist_jax.{main_name}", *rest, "--workdir", str(folder)]
    print(f"python {' '.join(command)}", file=sys.stderr)
    if code := _exit_code(command):
        raise RunError(f"{folder.name}: the command above ended with {code}; the same command goes on")


def _exit_code(command: Sequence[str]) -> int:
    return subprocess.run([sys.executable, *command], check=False, stdout=sys.stderr).returncode


def keep(folder: Path, kept: Path) -> None:
    """Copies the small files of a finished training, without where the data lay."""
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / RESULTS_FILE, kept / RESULTS_FILE)
    for name in (CONFIG_FILE, SUMMARY_FILE):
        write_json_atomic(kept / name, without_data_folder(json.loads((folder / name).read_text())))


def read_rows(name: str, workdir: Path) -> list[Row]:
    """Reads the rows that a claim's finished trainings give; none where none has finished."""
    claim = CLAIMS[name]
    folders = [folder for folder, _ in trainings(name, workdir) if (folder / SUMMARY_FILE).exists()]
    if not folders:
        return []
    summaries = [read_summary(folder) for folder in folders]
    lines = [line for folder in folders for line in read_results(folder)]
    test = summaries[0]["dataset"]["num_test"]
    commit = ", ".join(dict.fromkeys(short_commit(summary["git_commit"], 7) for summary in summaries))
    if summaries[0]["kind"] == "ensemble":
        accuracies = [summary["test_accuracy"] for summary in summaries]
        # The members of several processes are trained at the same time.
        seconds = [summary["train_seconds"] / summary["num_processes"] for summary in summaries]
    else:
        accuracies = [line["accuracy"] for line in lines]
        seconds = [line["train_seconds"] for line in lines]
    rows = [Row(claim.recipe, accuracies, test, seconds, claim.chosen_on, commit)]
    if summaries[0]["kind"] == "pseudo_label":
        alone = [line["supervised_only"]["accuracy"] for line in lines]
        recipe = "the same network on those labels alone"
        rows.append(Row(recipe, alone, test, [], "as above", commit))
    return rows


def draw(workdir: Path, names: Sequence[str] = tuple(CLAIMS)) -> str:
    """Draws the table of what has finished, as Markdown."""
    rows = [_line(row) for name in names for row in read_rows(name, workdir)]
    return "\n".join([f"| {' | '.join(_HEAD)} |", f"|{' --- |' * len(_HEAD)}", *rows])


def _line(row: Row) -> str:
    summary = summarize(row.accuracies)
    spread = f" ± {100 * summary.sd:.2f}" if summary.n > 1 else ""
    interval = f"{100 * summary.low:.2f} to {100 * summary.high:.2f}%" if summary.n > 1 else ""
    errors = [round(row.num_test * (1 - accuracy)) for accuracy in row.accuracies]
    of_all = f"{statistics.fmean(errors):.0f}"
    if summary.n > 1:
        of_all += f" ({min(errors)} to {max(errors)})"
    return (
        f"| {row.recipe} | {100 * summary.mean:.2f}{spread}% | {summary.n} | {interval} | {of_all} of "
        f"{row.num_test:,} | {_range(row.train_seconds)} | {row.chosen_on} | {row.commit} |"
    )


def _range(seconds: Sequence[float]) -> str:
    if not seconds:
        return "not recorded"
    shortest, longest = format_duration(min(seconds)), format_duration(max(seconds))
    return shortest if shortest == longest else f"{shortest} to {longest}"


if __name__ == "__main__":
    sys.exit(cli.run_main(main, COMMAND))
