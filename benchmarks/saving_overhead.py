"""``python -m benchmarks.saving_overhead``: what checkpoints cost a run of training."""

import statistics
import sys
import tempfile
from typing import Any

from benchmarks.result_files import OUTPUT_FLAGS, make_result, with_default_config, write_result
from mnist_jax import cli

COMMAND = cli.Command(
    "python -m benchmarks.saving_overhead",
    "Trains a configuration with a checkpoint after every epoch and without any, in turn, and compares the\n"
    "seconds of whole runs without compiling. --config is configs/default.py where it is left out.",
    (
        cli.Flag("rounds", 3, "pairs of runs", at_least=1, at_most=100, metavar="N"),
        cli.Flag("num_epochs", 2, "epochs, and so checkpoints, a run", at_least=1, at_most=100, metavar="N"),
        *OUTPUT_FLAGS,
    ),
    takes_config=True,
)


def main(arguments: cli.Arguments) -> int:
    """Runs the pairs, prints what saving adds, and writes what was asked for."""
    from mnist_jax.compile_cache import enable_compile_cache
    from mnist_jax.environment import collect_versions, describe_device

    enable_compile_cache(lambda note: print(note, file=sys.stderr))
    config = arguments.config.copy_and_resolve_references()
    config.num_epochs = arguments["num_epochs"]
    # The report is written after training, whatever is saved.
    config.report = False
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for round_index in range(arguments["rounds"]):
        # Which of the two goes first changes from pair to pair.
        for saving in (True, False) if round_index % 2 == 0 else (False, True):
            config.checkpoint.enabled = saving
            seconds[saving].append(run_seconds(config))
            what = "with" if saving else "without"
            print(f"pair {round_index + 1}: {seconds[saving][-1]:.2f} s {what} saving", file=sys.stderr)
    figures = summarize(seconds[True], seconds[False], config.num_epochs)
    settings = {name: arguments[name] for name in ("rounds", "num_epochs")}
    settings["config_file"] = arguments.config_file
    device = str(describe_device()["device"])
    result = make_result("saving_overhead", device, settings, figures, collect_versions())
    print(table(result))
    write_result(result, arguments["json"], arguments["keep"])
    if arguments["plot"]:
        from benchmarks.plots import plot_rounds

        pairs = list(zip(seconds[True], seconds[False], strict=True))
        plot_rounds(pairs, ("with saving", "without"), arguments["plot"])
    return 0


def run_seconds(config: Any) -> float:
    """Does one whole run in a folder that is thrown away; gives its seconds without compiling."""
    import time

    from mnist_jax.loop import train_and_evaluate

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = train_and_evaluate(config, folder)
        return time.perf_counter() - started - result.summary["compile_seconds"]


def summarize(saving: list[float], plain: list[float], num_saves: int) -> dict[str, Any]:
    """Compares within pairs: the share that saving adds, and seconds a save."""
    shares = [with_saving / without - 1 for with_saving, without in zip(saving, plain, strict=True)]
    added = [with_saving - without for with_saving, without in zip(saving, plain, strict=True)]
    return {
        "seconds_with_saving": saving,
        "seconds_without": plain,
        "added_share": statistics.median(shares),
        "added_shares": shares,
        "added_seconds_per_save": statistics.median(added) / num_saves,
    }


def table(result: dict[str, Any]) -> str:
    """Lays a result out as text."""
    shares = result["added_shares"]
    return (
        f"{result['device']}; {result['settings']['config_file']}; commit "
        f"{(result['machine']['git_commit'] or 'unknown')[:12]}\n"
        f"saving adds {result['added_share']:.1%} (median of {len(shares)} pairs, {min(shares):.1%} to "
        f"{max(shares):.1%}), {result['added_seconds_per_save']:.2f} s a checkpoint"
    )


if __name__ == "__main__":
    words = with_default_config(sys.argv[1:], "configs/default.py")
    sys.exit(cli.run_main(main, COMMAND, words))
