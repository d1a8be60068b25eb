"""``python -m benchmarks.time_to_accuracy``: seconds to a mean accuracy, in a fixed number of steps."""

import statistics
import sys
from typing import Any

from benchmarks.result_files import OUTPUT_FLAGS, commit_of, make_result, with_default_config, write_result
from mnist_jax import cli
from mnist_jax.config.seeds import SEEDS_MEANS, SEEDS_PATTERN, parse_seeds

DEFAULT_CONFIG = "configs/fast.py"

COMMAND = cli.Command(
    "python -m benchmarks.time_to_accuracy",
    "Trains a configuration once for each seed and gives mean accuracy and mean seconds. The clock runs\n"
    "from before the parameters are drawn until the device has done the last step; compiling and loading\n"
    "are apart.\n"
    "Each seed's last step is evaluated once: on the test set, or on the validation split where the\n"
    f"configuration holds one out. --config is {DEFAULT_CONFIG} where it is left out.",
    (
        cli.Flag("seeds", "0:5", "seeds", pattern=SEEDS_PATTERN, pattern_means=SEEDS_MEANS, metavar="0:5"),
        cli.Flag("target", 0.99, "mean accuracy to reach, a fraction", more_than=0, at_most=1, metavar="A"),
        *OUTPUT_FLAGS,
    ),
    takes_config=True,
)


def main(arguments: cli.Arguments) -> int:
    """Trains every seed, prints what came out, and writes what was asked for."""
    from benchmarks.speedrun import Speedrun
    from mnist_jax.config.check import as_dict
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.runtime.environment import collect_versions, describe_device

    enable_compile_cache(lambda note: print(note, file=sys.stderr))
    speedrun = Speedrun(arguments.config)
    runs = []
    for seed in parse_seeds(arguments["seeds"]):
        runs.append(speedrun.run(seed))
        print(
            f"seed {seed}: {runs[-1]['accuracy']:.2%} in {runs[-1]['train_seconds']:.2f} s", file=sys.stderr
        )
    figures = {
        **summarize(runs, arguments["target"]),
        "split": speedrun.split,
        "dataset": speedrun.dataset,
        "steps": speedrun.experiment.total_steps,
        "compile_seconds": speedrun.compile_seconds,
        "config": as_dict(arguments.config),
        "runs": runs,
    }
    settings = {
        "config_file": arguments.config_file,
        "seeds": arguments["seeds"],
        "target": arguments["target"],
    }
    device = str(describe_device()["device"])
    result = make_result("time_to_accuracy", device, settings, figures, collect_versions())
    print(table(result))
    write_result(result, arguments["json"], arguments["keep"])
    if arguments["plot"]:
        from benchmarks.plots import plot_time_to_accuracy

        plot_time_to_accuracy(result, arguments["plot"])
    return 0


def summarize(runs: list[dict[str, Any]], target: float) -> dict[str, Any]:
    """Mean, spread and range over the seeds; reached means the mean, not the best."""
    accuracies = [run["accuracy"] for run in runs]
    mean = statistics.fmean(accuracies)
    return {
        "mean_accuracy": mean,
        "sd_accuracy": statistics.stdev(accuracies) if len(runs) > 1 else None,
        "min_accuracy": min(accuracies),
        "max_accuracy": max(accuracies),
        "n": len(runs),
        "mean_train_seconds": statistics.fmean(run["train_seconds"] for run in runs),
        "mean_cpu_seconds": statistics.fmean(run["cpu_seconds"] for run in runs),
        "reached": mean >= target,
    }


def table(result: dict[str, Any]) -> str:
    """Lays a result out as text."""
    spread = "" if result["sd_accuracy"] is None else f", SD {100 * result['sd_accuracy']:.3f}"
    verdict = "reached" if result["reached"] else "NOT reached"
    return "\n".join(
        [
            f"{result['device']}; {result['settings']['config_file']}; {result['dataset']['source']}; commit "
            f"{commit_of(result)}",
            f"{result['split']} accuracy, {result['n']} seeds: "
            f"mean {100 * result['mean_accuracy']:.3f}%{spread}, min {result['min_accuracy']:.2%}, "
            f"max {result['max_accuracy']:.2%}",
            f"{result['steps']} steps in {result['mean_train_seconds']:.2f} s on average "
            f"({result['mean_cpu_seconds']:.2f} s of all cores together); compiling "
            f"{result['compile_seconds']:.1f} s, once",
            f"a mean of {result['settings']['target']:.2%}: {verdict}",
        ]
    )


if __name__ == "__main__":
    words = with_default_config(sys.argv[1:], DEFAULT_CONFIG)
    sys.exit(cli.run_main(main, COMMAND, words))
