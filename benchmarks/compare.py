"""``python -m benchmarks.compare``: this project against stock Flax, Keras and PyTorch."""

import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.contenders import COMPARED, DTYPES
from benchmarks.networks import NETWORKS
from benchmarks.ratios import best_of, compare_to
from benchmarks.result_files import OUTPUT_FLAGS, choose, commit_of, describe_work, make_result, write_result
from benchmarks.workers import Contender, Measurements, measure
from mnist_jax import cli
from mnist_jax.errors import ConfigError, RunError

REFERENCE = "ours"
SETTINGS = ("rounds", "seconds_per_round", "network", "image_shape", "batch_size", "dtype")

COMMAND = cli.Command(
    "python -m benchmarks.compare",
    "Measures training steps of one network in this project, stock Flax, Keras on its backends and PyTorch:\n"
    "separate processes, interleaved rounds, the same work. What is not installed is skipped and named.",
    (
        cli.Flag("rounds", 5, "timed pieces of each contender", at_least=1, at_most=1000, metavar="N"),
        cli.Flag("seconds_per_round", 5.0, "length of a piece", more_than=0, at_most=600, metavar="S"),
        cli.Flag("only", "", f"contenders by name, with commas: {', '.join(COMPARED)}", metavar="A,B"),
        cli.Flag(
            "network", "article", "what is trained", choices=tuple(NETWORKS), metavar="|".join(NETWORKS)
        ),
        cli.Flag(
            "image_shape",
            (28, 28, 1),
            "height, width and channels of the pictures",
            at_least=1,
            at_most=64,
            metavar="H,W,C",
        ),
        cli.Flag("batch_size", 64, "images a step", at_least=1, at_most=60_000, metavar="N"),
        cli.Flag("dtype", "float32", "how products are computed", choices=DTYPES, metavar="|".join(DTYPES)),
        cli.Flag(
            "other_python",
            "",
            "interpreter for contenders whose packages are missing in this one",
            metavar="FILE",
        ),
        *OUTPUT_FLAGS,
    ),
)


def main(arguments: cli.Arguments) -> int:
    """Measures, prints the table, and writes what was asked for."""
    names = choose(arguments["only"], COMPARED, "contender")
    shape = arguments["image_shape"]
    check_image_shape(arguments["network"], shape)
    worker_arguments = (
        *(f"--{name}={arguments[name]}" for name in ("network", "batch_size", "dtype")),
        *("--image_shape", *map(str, shape)),
    )
    measurements = measure(
        [Contender(name, name, worker_arguments) for name in names],
        rounds=arguments["rounds"],
        seconds_per_round=arguments["seconds_per_round"],
        other_python=arguments["other_python"],
        on_progress=lambda text: print(text, file=sys.stderr),
    )
    if not measurements.seconds_per_step:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in measurements.skipped.items())
        raise RunError(f"nothing could be measured; expected at least one contender ({reasons})")
    settings = {name: arguments[name] for name in SETTINGS}
    figures = summarize(measurements, arguments["batch_size"])
    versions: dict[str, Any] = {}
    for facts in measurements.facts.values():
        versions.update(facts["versions"])
    first = next(iter(measurements.facts.values()))
    device = measurements.facts.get(REFERENCE, first)["device"]
    result = make_result("compare", device, settings, figures, versions)
    print(table(result))
    write_result(result, arguments["json"], arguments["keep"])
    if arguments["plot"]:
        from benchmarks.plots import plot_compare

        plot_compare(result, arguments["plot"])
    return 0


def check_image_shape(network: str, image_shape: Sequence[int]) -> None:
    """Makes sure that a network can be made for pictures.

    Raises:
        ConfigError: it cannot.
    """
    smallest = NETWORKS[network]
    if len(image_shape) != 3 or min(image_shape[:2]) < smallest or image_shape[2] not in (1, 3):
        raise ConfigError(
            [
                f"--image_shape: got {','.join(map(str, image_shape))}; expected height and width of at "
                f"least {smallest} pixels for {network}, and 1 or 3 channels, as 28,28,1"
            ]
        )


def summarize(measurements: Measurements, batch_size: int) -> dict[str, Any]:
    """Turns rounds into medians, and ratios to this project where it was measured."""
    seconds = measurements.seconds_per_step
    contenders = {}
    for name, rounds in seconds.items():
        median = statistics.median(rounds)
        contenders[name] = {
            "title": measurements.titles[name],
            "seconds_per_step": rounds,
            "median_seconds_per_step": median,
            "median_cpu_seconds_per_step": statistics.median(measurements.cpu_seconds_per_step[name]),
            "images_per_second": batch_size / median,
            "steps_per_round": measurements.steps[name],
            **measurements.facts[name],
        }
    figures: dict[str, Any] = {"contenders": contenders, "skipped": measurements.skipped}
    if measurements.others_cpu_share:
        figures["others_cpu_share"] = statistics.median(measurements.others_cpu_share)
    if REFERENCE in seconds:
        ratios = compare_to(REFERENCE, seconds)
        for name, ratio in ratios.items():
            contenders[name]["ours_is_times_faster"] = ratio
        families = {"stock_flax": "stock_flax", "best_keras": "keras", "best_torch": "torch"}
        figures["ours_is_times_faster_than"] = {
            family: {"contender": best, "median": ratios[best]["median"]}
            for family, prefix in families.items()
            if (best := best_of(prefix, seconds))
        }
    return figures


def table(result: dict[str, Any]) -> str:
    """Lays a result out as text."""
    settings = result["settings"]
    lines = [
        f"{result['device']}; {describe_work(settings)}, {settings['dtype']}, no augmentation; "
        f"{settings['rounds']} rounds of about {settings['seconds_per_round']:g} s; commit "
        f"{commit_of(result)}",
        f"{'':36}{'ms a step':>10}{'images/s':>10}{'CPU ms':>9}  ours is times faster (least to most)",
    ]
    by_speed = sorted(result["contenders"].values(), key=lambda c: c["median_seconds_per_step"])
    for contender in by_speed:
        ratio = contender.get("ours_is_times_faster")
        told = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else ""
        lines.append(
            f"{contender['title']:36}{contender['median_seconds_per_step'] * 1e3:>10.2f}"
            f"{contender['images_per_second']:>10.0f}"
            f"{contender['median_cpu_seconds_per_step'] * 1e3:>9.1f}  {told}"
        )
    lines += [f"{name:36}skipped: {reason}" for name, reason in result["skipped"].items()]
    lines += busy_note(result)
    return "\n".join(lines)


def busy_note(result: dict[str, Any]) -> Sequence[str]:
    """Warns where other processes took more than a tenth of the machine."""
    share = result.get("others_cpu_share", 0.0)
    if share < 0.1:
        return ()
    return (f"other processes used {share:.0%} of this machine's cores: trust the ratios, not the times",)


if __name__ == "__main__":
    sys.exit(cli.run_main(main, COMMAND))
