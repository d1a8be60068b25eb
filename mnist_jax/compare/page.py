"""The page of a comparison."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_jax.compare.comparison import ComparedRun, Comparison
from mnist_jax.report.render import own_backend, render
from mnist_jax.report.sections import plain_value
from mnist_jax.storage.json_files import replace_file
from mnist_jax.terminal.format import format_duration, format_percent

_MOST_PICTURES = 60
# What is drawn: the field, whose lines, and what the reader hears of it.
_CURVES = (
    ("accuracy", ("validation", "test"), "Wrong answers", "evaluated after each epoch"),
    ("loss", ("validation", "test"), "Loss", "evaluated after each epoch"),
    ("loss", ("train",), "Training loss", "each run's own, with its augmentation, dropout and smoothing"),
    ("learning_rate", ("train",), "Learning rate", ""),
)


def write_page(comparison: Comparison, path: Path) -> Path:
    """Writes a comparison as one HTML file.

    Returns:
        The file, absolute.

    Raises:
        RunError: it cannot be written.
    """
    path = path.absolute()
    with own_backend():
        values = describe(comparison)
    replace_file(path, render("compare.html", **values))
    return path


def describe(comparison: Comparison) -> dict[str, Any]:
    """Everything that the page shows."""
    return {
        "comparison": comparison,
        "ink": all(run.record.is_ink for run in comparison.runs),
        "stand_ins": _stand_ins(comparison.runs),
        "table": [_row(run) for run in comparison.runs],
        "curves": _curves(comparison),
        "differences": [
            (name, [plain_value(value) for value in values])
            for name, values in comparison.differences.items()
        ],
        "tests": [
            (
                f"{pair.first.letter} and {pair.second.letter}",
                f"{pair.test.only_first:,}",
                f"{pair.test.only_second:,}",
                f"{pair.test.p_value:.2g}",
                f"{pair.p_holm:.2g}",
                "yes" if pair.p_holm < 0.05 else "not shown",
            )
            for pair in comparison.tests
        ],
        "pictures": _pictures(comparison.answered) if comparison.answered else None,
    }


def _stand_ins(runs: Sequence[ComparedRun]) -> list[list[ComparedRun]]:
    """The runs whose data stand in for those asked for, together where the notice is the same."""
    groups: dict[str, list[ComparedRun]] = {}
    for run in runs:
        dataset = run.record.run["dataset"]
        if dataset["is_fallback"]:
            groups.setdefault(dataset["notice"], []).append(run)
    return list(groups.values())


def _row(run: ComparedRun) -> dict[str, Any]:
    found = run.figures()
    cells = ["not finished", *[""] * 7]
    if found:
        low, high = found["interval"]
        cells = [
            format_percent(found["test_accuracy"]),
            f"{found['test_errors']:,}",
            f"{100 * low:.2f} to {100 * high:.2f}",
            f"{found['test_loss']:.4f}",
            f"{found['num_params']:,}" if "num_params" in found else "",
            f"{found['final_step']:,}" if "final_step" in found else "",
            format_duration(found["train_seconds"]) if "train_seconds" in found else "",
            f"{found['images_per_second']:,.0f}" if "images_per_second" in found else "",
        ]
    return {"run": run, "cells": cells}


def _curves(comparison: Comparison) -> list[dict[str, str]]:
    from mnist_jax.report import figures
    from mnist_jax.report.inline import inline_svg

    runs = {f"{run.letter} {run.name}": run.record.metrics for run in comparison.runs}
    drawn = []
    for number, (field, splits, title, note) in enumerate(_CURVES):
        figure = figures.overlaid_curves(runs, field, splits)
        if figure.axes[0].lines:
            name = f"{title} of each run over its epochs"
            drawn.append({"svg": inline_svg(figure, f"curve{number}", name), "title": title, "note": note})
    return drawn


def _pictures(runs: list[ComparedRun]) -> dict[str, Any]:
    from mnist_jax.report.images import percent, picture_uri

    probabilities = np.stack([run.predictions.probabilities for run in runs if run.predictions is not None])
    assert runs[0].predictions is not None
    test, names = runs[0].predictions.splits.test, runs[0].predictions.class_names
    chosen, right = probabilities.argmax(axis=2), np.stack([run.right for run in runs])
    differ = np.flatnonzero(np.any(chosen != chosen[0], axis=0))
    # First those that some have right; among them those whose answers are the surest.
    confidence = probabilities.max(axis=2).mean(axis=0)
    order = differ[np.lexsort((-confidence[differ], ~np.any(right[:, differ], axis=0)))]
    num_right = right.sum(axis=0)
    return {
        "all_right": f"{int((num_right == len(runs)).sum()):,}",
        "none_right": f"{int((num_right == 0).sum()):,}",
        "some_right": f"{int(((num_right > 0) & (num_right < len(runs))).sum()):,}",
        "num_differ": f"{len(differ):,}",
        "runs": runs,
        "cards": [
            {
                "picture": picture_uri(test.images[index], runs[0].record.is_ink),
                "true": names[test.labels[index]],
                "index": str(index),
                "answers": [
                    {
                        "letter": run.letter,
                        "says": names[chosen[row, index]],
                        "confidence": percent(probabilities[row, index].max()),
                        "right": bool(right[row, index]),
                    }
                    for row, run in enumerate(runs)
                ],
            }
            for index in order[:_MOST_PICTURES].tolist()
        ],
    }
