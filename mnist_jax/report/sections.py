"""The sections of a report as plain values for its template: texts, tables and pictures."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from mnist_jax.config.check import as_dict, default_config, fields_of, flatten
from mnist_jax.config.schema import GROUPS
from mnist_jax.metrics.predictions import (
    calibration_bins,
    class_figures,
    confusion_matrix,
    expected_calibration_error,
    frequent_confusions,
    wilson_interval,
)
from mnist_jax.metrics.selective import accuracy_at_coverage, fit_temperature, with_temperature
from mnist_jax.report import figures
from mnist_jax.report.inline import inline_svg
from mnist_jax.report.predictions import Predictions
from mnist_jax.report.record import RunRecord
from mnist_jax.report.reproduce import extension_commands, first_configuration, train_command
from mnist_jax.report.robustness import CHANGES, NUM_IMAGES, by_name
from mnist_jax.runtime.environment import collect_versions
from mnist_jax.terminal.format import describe_disputed, format_duration, format_percent, quote_word

_CURVE_NAMES = {
    "loss": "Loss over the epochs",
    "accuracy": "Share of wrong answers over the epochs",
    "learning_rate": "Learning rate over the epochs",
    "images_per_second": "Training speed over the epochs",
}

# What is drawn together of the changes, and the label of the axis.
_CHANGES = {
    "rotation": (["rotation"], "rotation, clockwise (degrees)"),
    "size": (["scale"], "size (factor)"),
    "shift": (["shift right", "shift down"], "shift (pixels)"),
}


def headline(record: RunRecord) -> dict[str, Any]:
    """The result and the figures beside it; ``accuracy`` is empty for a run that has not finished."""
    summary, dataset = record.summary, record.run["dataset"]
    if not summary:
        return {"accuracy": "", "facts": _progress(record)}
    errors, total = summary["test_errors"], dataset["num_test"]
    low, high = wilson_interval(total - errors, total)
    steps = f"{summary['final_step']:,} steps of {record.config['batch_size']}"
    spent = (
        f"{format_duration(summary['compile_seconds'])} compiling, "
        f"{format_duration(summary['eval_seconds'])} evaluating"
    )
    return {
        "accuracy": format_percent(summary["test_accuracy"]),
        "errors": f"{errors:,}",
        "total": f"{total:,}",
        "disputed": describe_disputed(summary["disputed_labels"]) if "disputed_labels" in summary else "",
        "interval": f"{100 * low:.2f} to {100 * high:.2f}%",
        "facts": [
            ("test loss", f"{summary['test_loss']:.4f}", "cross-entropy, nats"),
            ("training", format_duration(summary["train_seconds"]), spent),
            (
                "speed",
                f"{summary['images_per_second']:,.0f} images/s",
                f"{summary['steps_per_second']:.1f} steps/s",
            ),
            ("trained for", count_of(summary["epochs"], "epoch"), steps),
            ("network", f"{summary['num_params']:,}", "trainable parameters"),
            ("data", dataset["name"], f"{dataset['num_train']:,} training images"),
        ],
    }


def _progress(record: RunRecord) -> list[tuple[str, str, str]]:
    facts = []
    for split in ("train", "validation", "test"):
        lines = [
            line for line in record.metrics if line.get("split") == split and line.get("accuracy") is not None
        ]
        if lines:
            place = f"at step {lines[-1]['step']:,}, epoch {lines[-1]['epoch']}"
            facts.append((f"{split} accuracy", format_percent(lines[-1]["accuracy"]), place))
    return facts


def curves(record: RunRecord) -> dict[str, Any]:
    """The curves that there are numbers for, and what to know when reading them."""
    drawn = [
        inline_svg(figures.training_curve(record.metrics, field), f"curve-{field}", name)
        for field, name in _CURVE_NAMES.items()
        if any(line.get(field) is not None for line in record.metrics)
    ]
    return {"figures": drawn, "caption": _caption(record)}


def _caption(record: RunRecord) -> str:
    """What makes the loss of training another one than that of the evaluation."""
    reasons = []
    if record.config["augment"]["enabled"]:
        reasons.append("on changed images")
        if record.config["augment"].get("mixup_alpha") or record.config["augment"].get("cutmix_alpha"):
            reasons.append("against mixed labels")
    if record.config["model"]["dropout_rate"]:
        reasons.append("with dropout")
    if smoothing := record.config["optim"]["label_smoothing"]:
        reasons.append(
            f"against labels smoothed by {smoothing:g}, whose lowest loss is {_entropy(record):.3f}"
        )
    if record.config["optim"]["ema_fraction"]:
        reasons.append("not yet with the moving average of the weights")
    caption = "Training is measured while the network still learns"
    return f"{caption}, {', '.join(reasons)}." if reasons else f"{caption}."


def _entropy(record: RunRecord) -> float:
    """Of a smoothed label, in nats: the loss that nothing falls below."""
    classes, smoothing = len(record.run["class_names"]), record.config["optim"]["label_smoothing"]
    label = np.full(classes, smoothing / classes)
    label[0] += 1 - smoothing
    return float((label * np.log(1 / label)).sum())


def measured_alike(predictions: Predictions) -> list[tuple[str, str, str, str]]:
    """Loss and accuracy of the same network on training and on test images, measured in the same way."""
    return [
        (
            "training",
            f"{predictions.num_train:,}",
            f"{predictions.train_loss:.4f}",
            format_percent(predictions.train_accuracy),
        ),
        (
            "test",
            f"{predictions.splits.test.num_examples:,}",
            f"{predictions.test_loss:.4f}",
            format_percent(predictions.test_accuracy),
        ),
    ]


def confusion_of(record: RunRecord, predictions: Predictions | None) -> np.ndarray | None:
    """The confusion matrix of the run's end, or else of the checkpoint at hand."""
    if record.summary:
        return np.array(record.summary["confusion_matrix"])
    if predictions is None:
        return None
    labels, predicted = predictions.splits.test.labels, predictions.probabilities.argmax(axis=1)
    return confusion_matrix(labels, predicted, len(record.run["class_names"]))


def classes(confusion: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Confusion matrix, and precision, recall and F1 by class."""
    found = class_figures(confusion)
    wrong = found.num_examples - np.diag(confusion)

    def percent(value: float) -> str:
        return f"{100 * value:.2f}" if np.isfinite(value) else "–"

    rows = [
        (
            names[i],
            f"{found.num_examples[i]:,}",
            f"{wrong[i]:,}",
            *(percent(column[i]) for column in (found.recall, found.precision, found.f1)),
        )
        for i in range(len(names))
    ]
    means = [np.nanmean(column) for column in (found.recall, found.precision, found.f1)]
    rows.append(("mean", f"{confusion.sum():,}", f"{wrong.sum():,}", *map(percent, means)))
    return {
        "confusion": inline_svg(figures.confusion_matrix(confusion, names), "confusion", "Confusion matrix"),
        "per_class": inline_svg(
            figures.per_class_accuracy(confusion, names),
            "per-class",
            "Accuracy of each class with its interval",
        ),
        "frequent": [
            (names[true], names[predicted], count)
            for true, predicted, count in frequent_confusions(confusion, 6)
        ],
        "head": ("class", "images", "wrong", "recall", "precision", "F1"),
        "table": rows,
    }


def calibration(predictions: Predictions) -> dict[str, Any]:
    """The calibration plot, in words which way the network errs, and what a temperature makes of it."""
    labels, probabilities = predictions.splits.test.labels, predictions.probabilities
    bins = calibration_bins(probabilities, labels)
    smoothing = predictions.model.config.optim.label_smoothing
    confidence = float(probabilities.max(axis=1).mean())
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return {
        "figure": inline_svg(figures.calibration(bins), "calibration", "Accuracy by confidence"),
        "confidence": format_percent(confidence),
        "accuracy": format_percent(accuracy),
        "error": f"{100 * expected_calibration_error(bins):.2f}",
        "lean": "less sure than it could be" if confidence < accuracy else "surer than it should be",
        "reason": ", as smoothed labels ask of it" if smoothing and confidence < accuracy else "",
        "temperature": _temperature(predictions),
    }


def _temperature(predictions: Predictions) -> dict[str, str]:
    """The temperature that suits the images held out, and the test set's calibration error with it."""
    if predictions.validation is None:
        return {}
    temperature = fit_temperature(*predictions.validation)
    scaled = with_temperature(predictions.probabilities, temperature)
    bins = calibration_bins(scaled, predictions.splits.test.labels)
    return {
        "value": f"{temperature:.2f}",
        "error": f"{100 * expected_calibration_error(bins):.2f}",
        "images": f"{len(predictions.validation[1]):,}",
    }


def selective(predictions: Predictions) -> list[tuple[str, ...]]:
    """What is right where the least sure answers are left out, a row for each share that is answered."""
    labels = predictions.splits.test.labels
    return [
        (
            f"{100 * found.coverage:.0f}%",
            f"{found.num_answered:,}",
            f"{found.errors:,}",
            format_percent(found.accuracy),
            format_percent(found.threshold),
        )
        for found in accuracy_at_coverage(predictions.probabilities, labels, (1.0, 0.99, 0.98, 0.95))
    ]


def robustness(predictions: Predictions) -> dict[str, Any]:
    """How much stays right where images are turned, scaled and shifted, beside what training drew of it."""
    augment = predictions.model.config.augment
    height, width, _ = predictions.model.image_shape
    shift = max(augment.width_shift_fraction * width, augment.height_shift_fraction * height)
    drawn = {"rotation": augment.rotation_degrees, "size": augment.zoom_fraction, "shift": shift}
    accuracies = by_name(predictions.changed_accuracy)
    shown = []
    for kind, (names, label) in _CHANGES.items():
        unchanged = 1.0 if kind == "size" else 0.0
        reach = drawn[kind] if augment.enabled else 0.0
        figure = figures.accuracy_by_change(
            {name: (CHANGES[name], accuracies[name]) for name in names},
            label,
            drawn=(unchanged - reach, unchanged + reach),
        )
        shown.append(inline_svg(figure, f"by-{kind}", f"Share of right answers by {kind}"))
    return {
        "figures": shown,
        "images": min(NUM_IMAGES, predictions.splits.test.num_examples),
        "is_drawn": augment.enabled and any(drawn.values()),
    }


def config_groups(record: RunRecord) -> list[dict[str, Any]]:
    """The configuration by group, each field with its meaning and whether it differs from the default."""
    values = dict(flatten(record.config))
    defaults = dict(flatten(as_dict(default_config())))
    groups = []
    for group, meaning in GROUPS.items():
        rows = [
            (
                field.name.rpartition(".")[2],
                plain_value(values[field.name]),
                field.description,
                values[field.name] != defaults[field.name],
            )
            for field in fields_of(group)
            if field.name in values
        ]
        if rows:
            groups.append({"name": group or "run", "meaning": meaning, "rows": rows})
    return groups


def environment(record: RunRecord) -> list[tuple[str, str]]:
    """Where the run ran, on what data, with which versions (today's for an unfinished run)."""
    summary, dataset = record.summary, record.run["dataset"]
    rows = [
        ("data", f"{dataset['name']}: {dataset['source']}"),
        ("images", _sizes(dataset)),
        ("SHA-256, training", dataset["sha256"]),
        ("SHA-256, test", dataset["test_sha256"]),
    ]
    if summary.get("device"):
        rows.append(("device", summary["device"]))
        devices = count_of(summary["num_devices"], "device")
        rows.append(("devices", f"{devices}, {count_of(summary['num_processes'], 'process', 'processes')}"))
        if summary.get("peak_host_memory_bytes"):
            rows.append(("peak host memory", f"{summary['peak_host_memory_bytes'] / 2**30:.2f} GiB"))
        rows.append(("commit", summary["git_commit"] or "not known: no git checkout"))
    versions = summary.get("versions") or collect_versions()
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)))
    rows.append(("folder", str(record.folder)))
    return rows


def closing(record: RunRecord, command: str = "train", flags: str = "") -> dict[str, Any]:
    """What every page ends with: configuration, environment, and how to have it all once more.

    Args:
        record: of the page.
        command: the one that made it.
        flags: what that one takes beside the configuration.
    """
    return {
        "config": config_groups(record),
        "environment": environment(record),
        "commands": commands(record, command, flags),
    }


def commands(record: RunRecord, command: str, flags: str) -> list[tuple[str, str]]:
    """What to type to have it once more, as (comment, command)."""
    folder = f"runs/{record.folder.name}-again"
    lines = []
    commit, _, changed = (record.summary.get("git_commit") or "").partition("-")
    # The summary may be somebody else's: what is no commit is no word of a command.
    if re.fullmatch("[0-9a-f]{7,64}", commit):
        note = (
            "the code of the run; it also had changes that were not committed"
            if changed
            else "the code of the run"
        )
        lines.append((note, f"git checkout {commit}"))
    first = first_configuration(record.config, record.run)
    lines.append(("train again", train_command(first, folder, command, flags)))
    lines += [("made longer", line) for line in extension_commands(record.config, record.run, folder)]
    if command in ("train", "ensemble"):
        lines.append(("evaluate", f"python -m mnist_jax.evaluate --workdir {quote_word(folder)}"))
    return [*lines, ("this page", f"python -m mnist_jax.report --workdir {quote_word(folder)}")]


def _sizes(dataset: dict[str, Any]) -> str:
    parts = [f"{dataset['num_train']:,} training", f"{dataset['num_test']:,} test"]
    if dataset.get("num_validation"):
        parts.insert(1, f"{dataset['num_validation']:,} validation")
    return ", ".join(parts)


def plain_value(value: Any) -> str:
    """Writes the value of a field for people."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "none"
    return '""' if value == "" else str(value)


def count_of(number: int, one: str, many: str = "") -> str:
    """Writes a number with its noun: ``1 epoch``, ``5 epochs``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
