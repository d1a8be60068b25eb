"""``python -m benchmarks.processes``: what training by several processes of one machine costs."""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.result_files import OUTPUT_FLAGS, commit_of, make_result, write_result
from benchmarks.workers import ROOT
from mnist_jax import cli
from mnist_jax.errors import RunError
from mnist_jax.storage.json_files import read_summary

COMMAND = cli.Command(
    "python -m benchmarks.processes",
    "Trains configs/default.py on the embedded digits by one process and by several, which share the cores\n"
    "of this machine, in turn, and compares their images/s. Compiling is not counted.",
    (
        cli.Flag("processes", 2, "how many share a batch", at_least=2, metavar="N"),
        cli.Flag("batch_size", 64, "images a step, over all processes", at_least=1, metavar="N"),
        cli.Flag("epochs", 4, "epochs of 4,000 images a round", at_least=1, metavar="N"),
        cli.Flag("rounds", 3, "runs of each", at_least=1, metavar="N"),
        *OUTPUT_FLAGS,
    ),
)


def main(arguments: cli.Arguments) -> int:
    """Runs the rounds, prints the ratio, and writes what was asked for."""
    from mnist_jax.runtime.environment import collect_versions, describe_device

    count, settings = arguments["processes"], {name: arguments[name] for name in _SETTINGS}
    rates: dict[int, list[float]] = {1: [], count: []}
    for index in range(arguments["rounds"]):
        # Which of the two goes first changes from round to round.
        for processes in (1, count) if index % 2 == 0 else (count, 1):
            rates[processes].append(train(processes, arguments["batch_size"], arguments["epochs"]))
            print(f"round {index + 1}, {processes}: {rates[processes][-1]:,.0f} images/s", file=sys.stderr)
    device = str(describe_device()["device"])
    result = make_result("processes", device, settings, compare(rates[1], rates[count]), collect_versions())
    print(table(result))
    write_result(result, arguments["json"], arguments["keep"])
    if arguments["plot"]:
        from benchmarks.plots import plot_rounds

        pairs = list(zip(rates[count], rates[1], strict=True))
        plot_rounds(pairs, (f"{count} processes", "one"), arguments["plot"])
    return 0


_SETTINGS = ("processes", "batch_size", "epochs", "rounds")


def train(processes: int, batch_size: int, epochs: int) -> float:
    """Trains once, in a folder that is deleted; returns the images a second of its training.

    Raises:
        RunError: the command failed, with its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        flags = [
            "--config=configs/default.py",
            "--config.data.name=mnist_5k",
            f"--config.batch_size={batch_size}",
            f"--config.num_epochs={epochs}",
            "--config.report=false",
            f"--workdir={folder}/run",
        ]
        several = ["mnist_jax.launch", f"--processes={processes}", "--"]
        command = ["-m", *(several if processes > 1 else ["mnist_jax.train"]), *flags]
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RunError(f"{' '.join(command[1:3])}: {''.join(done.stderr.strip().splitlines()[-1:])}")
        return read_summary(Path(folder) / "run")["images_per_second"]


def compare(one: list[float], several: list[float]) -> dict[str, Any]:
    """Images a second of each round, and the ratios within rounds."""
    ratios = [many / alone for many, alone in zip(several, one, strict=True)]
    return {
        "images_per_second_of_one": one,
        "images_per_second_of_several": several,
        "ratios": ratios,
        "median_ratio": statistics.median(ratios),
    }


def table(result: dict[str, Any]) -> str:
    """Lays a result out as text."""
    settings, ratios = result["settings"], result["ratios"]
    return (
        f"{result['device']}; batch {settings['batch_size']}; commit {commit_of(result)}\n"
        f"one process: {statistics.median(result['images_per_second_of_one']):,.0f} images/s, "
        f"{settings['processes']} processes: "
        f"{statistics.median(result['images_per_second_of_several']):,.0f}; ratio "
        f"{result['median_ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} rounds)"
    )


if __name__ == "__main__":
    sys.exit(cli.run_main(main, COMMAND))
