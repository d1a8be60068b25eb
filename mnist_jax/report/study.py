"""The page of a study: what many seeds of one configuration reached."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mnist_jax.metrics.statistics import summarize
from mnist_jax.report import member_figures, sections, style
from mnist_jax.report.inline import inline_svg
from mnist_jax.report.record import RunRecord
from mnist_jax.terminal.format import format_duration, format_percent


def describe_study(record: RunRecord) -> dict[str, Any]:
    """Everything that the page of a study shows, finished or not.

    Raises:
        RunError: its results are damaged.
    """
    results, split = record.results(), str(record.run["split"])
    values: dict[str, Any] = {"split": split, "results": results, "unfinished": not record.summary}
    seeds = sorted({result["seed"] for result in results})
    values |= sections.closing(record, "study", f"--seeds {write_seeds(seeds) or '0:5'} --split {split}")
    if not results:
        return values
    return values | {
        "headline": _headline(record, results),
        "figures": _figures(results),
        "table": _table(results),
        "remarks": _remarks(record),
    }


def write_seeds(seeds: Sequence[int]) -> str:
    """Writes seeds as ``config.seeds.parse_seeds`` reads them: ``0:30`` or ``3,5,8:10``."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ",".join(f"{run[0]}:{run[-1] + 1}" if len(run) > 1 else str(run[0]) for run in runs)


def describe_spread(figures: dict[str, Any], decimals: int = 3) -> str:
    """Mean and standard deviation of accuracies, in percent."""
    sd = f" ± {100 * figures['sd']:.{decimals}f}" if figures["sd"] is not None else ""
    return f"{100 * figures['mean']:.{decimals}f}{sd} %"


def describe_interval(figures: dict[str, Any], decimals: int = 3) -> str:
    """The 95% interval of a mean, in percent."""
    if figures["low"] is None:
        return "a single seed has none"
    return f"{100 * figures['low']:.{decimals}f} to {100 * figures['high']:.{decimals}f} %"


def best_and_worst(results: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results with the smallest and the largest share of errors; of equals the first."""

    def share(result: dict[str, Any]) -> float:
        return result["errors"] / result.get("num_examples", 1)

    return min(results, key=share), max(results, key=share)


def name_of(result: dict[str, Any]) -> str:
    """Names a training of a study."""
    return f"fold {result['fold']}, seed {result['seed']}" if "fold" in result else f"seed {result['seed']}"


def _statistics(record: RunRecord, results: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    if record.summary:
        return record.summary["statistics"]
    return {
        name: asdict(summarize([result[name] for result in results]))
        for name in ("accuracy", "errors", "loss")
    }


def _headline(record: RunRecord, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    statistics = _statistics(record, results)
    accuracy, loss = statistics["accuracy"], statistics["loss"]
    best, worst = best_and_worst(results)
    spread = f"± {loss['sd']:.4f}" if loss["sd"] is not None else "a single seed"
    seconds = [result["train_seconds"] for result in results]
    return {
        "result": describe_spread(accuracy),
        "interval": describe_interval(accuracy),
        "n": accuracy["n"],
        "facts": [
            (
                "best seed",
                format_percent(best["accuracy"]),
                f"{name_of(best)}, {best['errors']:,} errors",
            ),
            (
                "worst seed",
                format_percent(worst["accuracy"]),
                f"{name_of(worst)}, {worst['errors']:,} errors",
            ),
            ("loss", f"{loss['mean']:.4f}", f"{spread}, nats"),
            (
                "trained for",
                sections.count_of(record.config["num_epochs"], "epoch"),
                f"{results[0]['final_step']:,} steps",
            ),
            ("training", format_duration(sum(seconds) / len(seconds)), "a seed, on average"),
            (
                "data",
                record.run["dataset"]["name"],
                f"{record.run['dataset']['num_train']:,} training images",
            ),
        ],
    }


def _figures(results: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    errors, sizes = ([result[name] for result in results] for name in ("errors", "num_examples"))
    shares = summarize([count / size for count, size in zip(errors, sizes, strict=True)])
    interval = None if shares.low is None or shares.high is None else (shares.low, shares.high)
    dots = member_figures.accuracies(
        [name_of(result) for result in results],
        errors,
        sizes,
        mean=shares.mean,
        interval=interval,
    )
    drawn = [
        {
            "svg": inline_svg(dots, "seeds", "Wrong answers of each seed"),
            "caption": "Each dot is a seed, the best and the worst in orange. The line is their mean, the "
            "band the interval that holds the true mean with 95% confidence.",
        }
    ]
    losses = {name_of(r): r["train_losses"] for r in results if r.get("train_losses")}
    if losses:
        best, worst = map(name_of, best_and_worst(results))
        colors = {worst: style.WARM, best: style.ACCENT}
        figure = member_figures.losses_by_epoch(
            losses, {name: colors[name] for name in colors if name in losses}
        )
        drawn.append(
            {
                "svg": inline_svg(figure, "losses", "Training loss of each seed over the epochs"),
                "caption": "The training loss of each seed, the mean over each epoch; the best seed in blue, "
                "the worst in orange.",
            }
        )
    return drawn


def _table(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    best, worst = best_and_worst(results)
    marks = {name_of(worst): " · worst", name_of(best): " · best"}
    return {
        "head": ("seed", "right", "errors", "loss (nats)", "training"),
        "rows": [
            (
                f"{name_of(result).removeprefix('seed ')}"
                f"{marks.get(name_of(result), '') if len(results) > 1 else ''}",
                format_percent(result["accuracy"]),
                f"{result['errors']:,}",
                f"{result['loss']:.4f}",
                format_duration(result["train_seconds"]),
            )
            for result in results
        ],
    }


def _remarks(record: RunRecord) -> list[str]:
    remarks = list(record.run["dataset"].get("remarks", ()))
    if record.summary.get("test_labels_used_for_choice"):
        others = ", ".join(record.summary.get("compared_on_test_with", ())) or "another study"
        remarks.append(f"Compared on test with {others}: a choice between them is a choice by test labels.")
    return remarks
