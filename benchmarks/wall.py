"""``python -m benchmarks.wall``: seconds and memory of whole commands, from start to exit."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.result_files import JSON_FILE, KEEP, commit_of, make_result, write_result
from benchmarks.workers import ROOT
from mnist_jax import cli
from mnist_jax.errors import ConfigError, RunError
from mnist_jax.storage.json_files import read_config

COMMANDS = ("train", "evaluate", "predict", "report")

COMMAND = cli.Command(
    "python -m benchmarks.wall",
    "Times whole commands: training, evaluate, predict of one 28x28 picture and report of the run that was\n"
    "trained, each with an empty and with a filled cache of compiled programs. Wall seconds, and the memory\n"
    "of the largest process. Nothing else should run on the machine.",
    (
        cli.Flag("config", "configs/fast.py", "what is trained", non_empty=True, metavar="FILE"),
        cli.Flag("commands", ",".join(COMMANDS), "which of them, with commas between", metavar="NAMES"),
        cli.Flag("default_run", False, "time training of configs/default.py too: minutes a round"),
        cli.Flag("workdir", "", "ask this run instead of the one that was trained", metavar="DIR"),
        cli.Flag("rounds", 5, "times each command is run with a filled cache", at_least=1, metavar="N"),
        cli.Flag("cold_rounds", 1, "times each is run with an empty one", at_least=1, metavar="N"),
        cli.Flag("against", "", "a checkout whose commands are timed in turn with these", metavar="DIR"),
        JSON_FILE,
        KEEP,
    ),
)


class Usage(NamedTuple):
    """What one command took."""

    seconds: float  # from its start to its end
    cpu_seconds: float  # of all cores and of the processes it started
    peak_bytes: int  # resident memory of the largest process


def main(arguments: cli.Arguments) -> int:
    """Runs the rounds, prints a table, and writes what was asked for."""
    from mnist_jax.runtime.environment import collect_versions, describe_device

    names = [name.strip() for name in arguments["commands"].split(",") if name.strip()]
    if unknown := [name for name in names if name not in COMMANDS]:
        raise ConfigError([f"commands: no command {unknown[0]!r}; expected some of {', '.join(COMMANDS)}"])
    names = [name for name in COMMANDS if name in names] + ["default"] * arguments["default_run"]
    checkouts = {"this": ROOT}
    if arguments["against"]:
        checkouts["against"] = Path(arguments["against"]).absolute()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = make_run(folder, arguments.config_file, arguments["workdir"])
        cold_rounds, rounds = arguments["cold_rounds"], arguments["rounds"]
        usages = measure(names, arguments.config_file, checkouts, run, folder, cold_rounds, rounds)
        dataset = read_config(run)[1]["dataset"]
    settings = {name: arguments[name] for name in ("rounds", "cold_rounds", "workdir", "against")}
    settings |= {"config_file": arguments.config_file, "commands": names}
    figures = {"dataset": dataset, "commands": summarize(usages)}
    result = make_result("wall", str(describe_device()["device"]), settings, figures, collect_versions())
    print(table(result))
    write_result(result, arguments["json"], arguments["keep"])
    return 0


Usages = dict[str, dict[str, dict[str, list[Usage]]]]


def make_run(folder: Path, config: str, workdir: str = "") -> Path:
    """Trains a run in a folder, or copies the one of ``workdir`` there."""
    run = folder / "run"
    if workdir:
        shutil.copytree(workdir, run)
    else:
        time_command(["mnist_jax.train", "--config", config, f"--workdir={run}"], ROOT, folder / "first")
    return run


def measure(
    names: list[str],
    config: str,
    checkouts: dict[str, Path],
    run: Path,
    folder: Path,
    cold_rounds: int,
    rounds: int,
) -> Usages:
    """Runs every command of every checkout, in turn.

    Args:
        names: of ``COMMANDS``, and ``default`` for training of ``configs/default.py``.
        config: what ``train`` trains.
        checkouts: the folder of each checkout by name.
        run: the run that is asked; its report is written anew.
        folder: for further runs and for compiled programs.
        cold_rounds: times a command is run with an empty cache; the last of these fills the warm one.
        rounds: times it is run then.

    Returns:
        what each command took, ``[name][checkout]["cold" or "warm"]``, a list with an entry a round.

    Raises:
        RunError: a command failed.
    """
    picture = folder / "digit.png"
    _write_picture(picture)
    usages: Usages = {}
    for name in names:
        found = usages[name] = {checkout: {"cold": [], "warm": []} for checkout in checkouts}
        for number in range(cold_rounds + rounds):
            kind = "cold" if number < cold_rounds else "warm"
            order = list(checkouts) if number % 2 == 0 else list(checkouts)[::-1]
            for checkout in order:
                cache = folder / f"programs-{checkout}-{name}"
                new = folder / "new"
                for old in (new, cache) if kind == "cold" else (new,):
                    shutil.rmtree(old, ignore_errors=True)
                words = {
                    "train": ["mnist_jax.train", "--config", config, f"--workdir={new}"],
                    "default": ["mnist_jax.train", "--config", "configs/default.py", f"--workdir={new}"],
                    "evaluate": ["mnist_jax.evaluate", f"--workdir={run}"],
                    "predict": ["mnist_jax.predict", f"--workdir={run}", str(picture)],
                    "report": ["mnist_jax.report", f"--workdir={run}"],
                }[name]
                usage = time_command(words, checkouts[checkout], cache)
                found[checkout][kind].append(usage)
                print(f"{name}, {kind}, {checkout}: {usage.seconds:.1f} s", file=sys.stderr)
    return usages


def time_command(words: list[str], checkout: Path, cache: Path) -> Usage:
    """Runs ``python -m WORDS`` in a checkout, its compiled programs in ``cache``, to the end.

    Raises:
        RunError: it failed, with its last line.
    """
    environment = {**os.environ, "PYTHONPATH": str(checkout), "JAX_COMPILATION_CACHE_DIR": str(cache)}
    with tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RunError(f"{words[0]}: {''.join(said.read().strip().splitlines()[-1:])}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def _write_picture(path: Path) -> None:
    from PIL import Image

    from mnist_jax.data import load_splits

    Image.fromarray(load_splits("mnist_5k").test.images[0, ..., 0]).save(path)


def summarize(usages: Usages) -> list[dict[str, Any]]:
    """Medians of each command, cold and warm, and the ratio to the other checkout's within rounds."""
    rows = []
    for name, checkouts in usages.items():
        for kind in ("cold", "warm"):
            found = checkouts["this"][kind]
            row: dict[str, Any] = {"command": name, "cache": kind, **_medians(found)}
            row["seconds_of_rounds"] = [usage.seconds for usage in found]
            if "against" in checkouts:
                other = checkouts["against"][kind]
                row["against"] = _medians(other)
                ratios = [ours.seconds / theirs.seconds for ours, theirs in zip(found, other, strict=True)]
                row["median_ratio"] = statistics.median(ratios)
            rows.append(row)
    return rows


def _medians(usages: list[Usage]) -> dict[str, float]:
    columns = zip(Usage._fields, zip(*usages, strict=True), strict=True)
    return {name: statistics.median(values) for name, values in columns}


def table(result: dict[str, Any]) -> str:
    """Lays a result out as Markdown: a line for each command and cache."""
    compared = bool(result["settings"]["against"])
    config = Path(result["settings"]["config_file"]).name
    titles = {
        "train": f"`train`, `{config}`",
        "default": "`train`, `default.py`",
        "evaluate": "`evaluate`",
        "predict": "`predict` of one picture",
        "report": "`report`",
    }
    heading = ["from command to exit", "compiled programs", "seconds", "CPU seconds", "peak memory"]
    lines = [heading + ["ratio to the other checkout"] * compared]
    lines.append(["---", "---"] + ["---:"] * (3 + compared))
    for row in result["commands"]:
        line = [titles[row["command"]], {"cold": "none", "warm": "kept"}[row["cache"]]]
        line += [f"{row['seconds']:.1f}", f"{row['cpu_seconds']:.1f}", f"{row['peak_bytes'] / 1e9:.2f} GB"]
        lines.append(line + ([f"{row['median_ratio']:.2f}"] if compared else []))
    settings, dataset = result["settings"], result["dataset"]
    rounds = f"medians of {settings['rounds']} rounds, {settings['cold_rounds']} without kept programs"
    facts = f"{dataset['name']}, {dataset['num_test']:,} test images; {rounds}"
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n\n{result['device']}; {facts}; commit {commit_of(result)}"


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
