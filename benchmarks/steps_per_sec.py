"""``python -m benchmarks.steps_per_sec``: this project on the device at hand."""

import statistics
import sys
from typing import Any

from benchmarks.compare import busy_note
from benchmarks.contenders import DTYPES
from benchmarks.ratios import round_ratios
from benchmarks.result_files import OUTPUT_FLAGS, commit_of, make_result, write_result
from benchmarks.workers import Contender, Measurements, measure
from mnist_jax import cli
from mnist_jax.errors import ConfigError, RunError

PRODUCTS = ("matmul_square", "matmul_step_shaped")

COMMAND = cli.Command(
    "python -m benchmarks.steps_per_sec",
    "Measures training steps of this project on the device at hand, the share of the device's own\n"
    "matrix-product rate that they reach, memory, and the time from the command to the first step.",
    (
        cli.Flag(
            "batch_sizes", (64,), "images a step, one or several", at_least=1, non_empty=True, metavar="N,N"
        ),
        cli.Flag("dtype", "float32", "how products are computed", choices=DTYPES, metavar="|".join(DTYPES)),
        cli.Flag("rounds", 5, "timed pieces of each batch size", at_least=1, at_most=1000, metavar="N"),
        cli.Flag("seconds_per_round", 5.0, "length of a piece", more_than=0, at_most=600, metavar="S"),
        cli.Flag("startup", True, "also time the first step after the command, with no cache and with one"),
        *OUTPUT_FLAGS,
    ),
)


def main(arguments: cli.Arguments) -> int:
    """Measures, prints the table, and writes what was asked for."""
    sizes, dtype = arguments["batch_sizes"], arguments["dtype"]
    if max(sizes) > 60_000:
        raise ConfigError([f"--batch_sizes: expected at most 60000 images, got {max(sizes)}"])
    own = [Contender(f"batch_{n}", "ours", (f"--batch_size={n}", f"--dtype={dtype}")) for n in sizes]
    products = [Contender(name, name, (f"--dtype={dtype}",)) for name in PRODUCTS]
    measurements = measure(
        [*own, *products],
        rounds=arguments["rounds"],
        seconds_per_round=arguments["seconds_per_round"],
        on_progress=lambda text: print(text, file=sys.stderr),
    )
    if measurements.skipped:
        name, reason = next(iter(measurements.skipped.items()))
        raise RunError(f"{name} could not be measured: {reason}; expected a device with room for it")
    figures = summarize(measurements, sizes)
    facts = measurements.facts[f"batch_{sizes[0]}"]
    if arguments["startup"]:
        from benchmarks.startup import measure_startup

        print("starting the training command twice", file=sys.stderr)
        figures["startup"] = measure_startup(on_cpu=facts["device"].startswith("cpu"))
    settings = {name: arguments[name] for name in ("dtype", "rounds", "seconds_per_round")}
    result = make_result("steps_per_sec", facts["device"], settings, figures, facts["versions"])
    print(table(result))
    write_result(result, arguments["json"], arguments["keep"])
    if arguments["plot"]:
        from benchmarks.plots import plot_steps_per_sec

        plot_steps_per_sec(result, arguments["plot"])
    return 0


def summarize(measurements: Measurements, batch_sizes: tuple[int, ...]) -> dict[str, Any]:
    """Turns rounds into rates; shares are taken within each round, against that round's best product."""
    product_rounds = {
        name: [measurements.facts[name]["flops_per_step"] / s for s in measurements.seconds_per_step[name]]
        for name in PRODUCTS
    }
    best_rounds = [max(rates) for rates in zip(*product_rounds.values(), strict=True)]
    entries = []
    for size in batch_sizes:
        key = f"batch_{size}"
        seconds, facts = measurements.seconds_per_step[key], measurements.facts[key]
        achieved = [facts["flops_per_step"] / s for s in seconds]
        median = statistics.median(seconds)
        effective_share = statistics.median(round_ratios(best_rounds, achieved))
        multiplied = facts["multiplied_flops_per_step"]
        entries.append(
            {
                "batch_size": size,
                "seconds_per_step": seconds,
                "steps_per_second": 1 / median,
                "images_per_second": size / median,
                "flops_per_step": facts["flops_per_step"],
                "multiplied_flops_per_step": multiplied,
                "effective_flops_per_second": facts["flops_per_step"] / median,
                "effective_share_of_product_rate": effective_share,
                "multiplied_share_of_product_rate": None
                if multiplied is None
                else effective_share * multiplied / facts["flops_per_step"],
                "compile_seconds": facts["compile_seconds"],
                "peak_host_memory_bytes": facts["peak_host_memory_bytes"],
                "peak_device_memory_bytes": facts["peak_device_memory_bytes"],
            }
        )
    figures = {
        "batch_sizes": entries,
        "product_flops_per_second": {name: statistics.median(r) for name, r in product_rounds.items()},
        "product_shapes": {name: measurements.facts[name]["shape"] for name in PRODUCTS},
    }
    if measurements.others_cpu_share:
        figures["others_cpu_share"] = statistics.median(measurements.others_cpu_share)
    return figures


def table(result: dict[str, Any]) -> str:
    """Lays a result out as text."""
    settings = result["settings"]
    lines = [
        f"{result['device']}; {settings['dtype']}; {settings['rounds']} rounds of about "
        f"{settings['seconds_per_round']:g} s; commit {commit_of(result)}",
        f"{'batch':>6}{'steps/s':>10}{'images/s':>11}{'GFLOP/s':>10}{'effective':>11}"
        f"{'multiplied':>12}{'compile s':>11}{'host MB':>9}{'device MB':>11}",
    ]
    for entry in result["batch_sizes"]:
        multiplied = entry["multiplied_share_of_product_rate"]
        device_bytes = entry["peak_device_memory_bytes"]
        lines.append(
            f"{entry['batch_size']:>6}{entry['steps_per_second']:>10.1f}{entry['images_per_second']:>11.0f}"
            f"{entry['effective_flops_per_second'] / 1e9:>10.1f}"
            f"{entry['effective_share_of_product_rate']:>11.0%}"
            f"{'not known' if multiplied is None else f'{multiplied:.0%}':>12}"
            f"{entry['compile_seconds']:>11.1f}{(entry['peak_host_memory_bytes'] or 0) / 1e6:>9.0f}"
            f"{f'{device_bytes / 1e6:.0f}' if device_bytes else 'not told':>11}"
        )
    lines += [
        "effective, as are GFLOP/s: the share of the matrix-product rate if convolutions were done directly;",
        "multiplied: the share of what is really multiplied, of which Winograd's convolutions need less",
    ]
    for name, rate in result["product_flops_per_second"].items():
        shape = " x ".join(str(length) for length in result["product_shapes"][name])
        lines.append(f"matrix product of {shape}: {rate / 1e9:.1f} GFLOP/s")
    if startup := result.get("startup"):
        lines.append(
            f"from the command to the first step: {startup['cold_seconds']:.1f} s with an empty compilation "
            f"cache, {startup['warm_seconds']:.1f} s with a filled one; peak memory "
            f"{startup['peak_host_memory_bytes'] / 1e6:.0f} MB; data {startup['dataset']}"
        )
    return "\n".join([*lines, *busy_note(result)])


if __name__ == "__main__":
    sys.exit(cli.run_main(main, COMMAND))
