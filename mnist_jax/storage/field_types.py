"""The types of what the files of a run hold: they may be damaged, or come from somebody else.

docs/files_of_a_run.md describes the fields.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mnist_jax.errors import RunError

Check = Callable[[Any], bool]

_LARGEST = 2**53  # up to here JSON's numbers are whole ones everywhere
_LONGEST_SIDE = 2**14
_MOST_CLASSES = 2**16


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return type(value) in (int, float) and -1e300 < value < 1e300


def is_count(value: Any) -> bool:
    """Whether a value is a whole number, not negative."""
    return type(value) is int and 0 <= value <= _LARGEST


def is_measure(value: Any) -> bool:
    """Whether a value is a finite number, or None in the place of one that was not finite."""
    return value is None or is_number(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return is_count(value) and value > 0


def _is_image_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(_is_positive(size) and size <= _LONGEST_SIDE for size in value)
    )


def _list_of(check: Check, most: int = 2**20) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(check, value))


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _map_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _record_of(**fields: Check) -> Check:
    """A dictionary that has all these fields."""
    return lambda value: (
        isinstance(value, dict)
        and all(name in value and check(value[name]) for name, check in fields.items())
    )


_is_spread = _record_of(n=is_count, mean=is_number, **dict.fromkeys(("sd", "low", "high"), is_measure))
_is_score = _record_of(accuracy=is_number, errors=is_count)
_MEASURED = {"accuracy": is_number, "errors": is_count, "loss": is_number, "calibration_error": is_number}


_PREPARATION: dict[str, Check] = {
    "preparation.form": lambda value: value in ("mnist", "resized"),
    "preparation.image_shape": _is_image_shape,
    "preparation.box": _is_positive,
    "preparation.white": lambda value: is_number(value) and value > 0,
    "preparation.is_mask": _is_flag,
    "preparation.background": lambda value: is_number(value) and 0 <= value <= 1,
}

_DATASET: dict[str, Check] = {
    **dict.fromkeys(("name", "source", "sha256", "test_sha256", "notice"), _is_text),
    "num_train": _is_positive,
    **dict.fromkeys(("num_validation", "num_test"), is_count),
    "is_fallback": _is_flag,
    "remarks": _list_of(_is_text),
    "preparation": _is_dict,
    **_PREPARATION,
}

_RUN: dict[str, Check] = {
    "dataset": _is_dict,
    **{f"dataset.{name}": check for name, check in _DATASET.items()},
    "image_shape": _is_image_shape,
    "class_names": lambda value: bool(value) and _list_of(_is_text, _MOST_CLASSES)(value),
}

_TIMES = ("train_seconds", "compile_seconds", "eval_seconds", "images_per_second", "steps_per_second")

_SUMMARY: dict[str, Check] = {
    **dict.fromkeys(("test_errors", "final_step", "epochs", "seed", "num_params"), is_count),
    **dict.fromkeys(("num_devices", "num_processes"), is_count),
    **dict.fromkeys(("test_accuracy", "test_loss", *_TIMES), is_number),
    "confusion_matrix": _list_of(_list_of(is_count)),
    "warnings": _list_of(_is_text),
    "early_stopping": _is_dict,
    "device": _is_text,
    "versions": _map_of(_or_none(_is_text)),
    "git_commit": _or_none(_is_text),
    "peak_host_memory_bytes": _or_none(is_count),
    "dataset": _is_dict,
    # Of a study, an ensemble or pseudo labels.
    "seeds": _list_of(is_count),
    "statistics": _map_of(_is_spread),
    "compared_on_test_with": _list_of(_is_text),
    "num_members": _is_positive,
    "members": lambda value: (
        bool(value) and _list_of(_record_of(model=_is_text, seed=is_count, **_MEASURED))(value)
    ),
    "soft_vote": _record_of(**_MEASURED),
    "majority_vote": _is_score,
    "accuracy_by_size": _list_of(_record_of(size=_is_positive, accuracy=is_number)),
    **dict.fromkeys(("disagreement", "gain"), is_number),
}

_DEVICE = ("device", "num_devices", "num_processes")
_VOTES = ("soft_vote", "majority_vote", "accuracy_by_size", "disagreement", "gain")

# What a page cannot do without, by the kind of its folder.
_NEEDED: dict[str, tuple[str, ...]] = {
    "run": (
        *("test_accuracy", "test_errors", "test_loss", "confusion_matrix"),
        *("final_step", "epochs", "num_params"),
        *_TIMES,
        *_DEVICE,
    ),
    "ensemble": ("num_members", "members", *_VOTES, "confusion_matrix", "num_params", *_DEVICE),
    "study": ("seeds", "statistics", *_DEVICE),
    "pseudo_label": ("seeds", "statistics", *_DEVICE),
}
_NEEDED_SPREADS = {
    "study": ("accuracy", "errors", "loss"),
    "pseudo_label": (
        "student_accuracy",
        "teacher_accuracy",
        "supervised_only_accuracy",
        "gain_over_supervised",
    ),
}

_RESULT: dict[str, Check] = {
    "seed": is_count,
    "model": _is_text,
    **dict.fromkeys(("errors", "final_step", "num_params", "labeled", "pool_size"), is_count),
    **dict.fromkeys(("num_examples", "fold"), _is_positive),
    **dict.fromkeys(("accuracy", "loss", "train_seconds", "compile_seconds"), is_number),
    **dict.fromkeys(("gain_over_teacher", "gain_over_supervised"), is_number),
    "train_losses": _list_of(is_measure),
    **dict.fromkeys(("teacher", "supervised_only"), _is_score),
    "rounds": _list_of(_is_score),
    "steps": _record_of(teacher=is_count, student=is_count, alone=is_count),
}
_RESULT_NEEDED = {
    "study": ("accuracy", "errors", "loss", "num_examples", "final_step", "train_seconds"),
    "pseudo_label": ("accuracy", "errors", "teacher", "supervised_only", "rounds", "steps", "pool_size")
    + ("labeled", "train_seconds", "gain_over_teacher", "gain_over_supervised"),
}

_METRICS: dict[str, Check] = {
    "split": _is_text,
    "epoch": is_count,
    **dict.fromkeys(("loss", "accuracy", "learning_rate", "images_per_second"), is_measure),
}


def wrong_run_fact(run: Mapping[str, Any]) -> str:
    """Returns the name of the first of a run's facts that has not its type; empty where there is none."""
    wrong = _first_wrong(run, _RUN)
    if not wrong and "preparation" in run.get("dataset", {}):
        preparation = run["dataset"]["preparation"]
        if "form" not in preparation or preparation.get("image_shape") != run.get("image_shape"):
            wrong = "dataset.preparation"
    return wrong


def require_run_facts(run: Mapping[str, Any], *of_dataset: str) -> None:
    """Makes sure that ``config.json`` tells what is needed to load the network of a run.

    Args:
        run: what it holds under ``run``.
        of_dataset: facts of the data set that are needed beside those.

    Raises:
        RunError: something is missing.
    """
    names = ("image_shape", "class_names", "dataset")
    missing = next((name for name in names if name not in run), "")
    if not missing:
        facts = ("name", "num_train", *of_dataset)
        missing = next((f"dataset.{name}" for name in facts if name not in run["dataset"]), "")
    if missing:
        raise RunError(
            f"config.json does not tell run.{missing}; expected what a run writes: start the same "
            "training command once more"
        )


def wrong_summary_field(summary: Mapping[str, Any]) -> str:
    """Returns the name of the first field of a run's summary that has not its type, or empty text."""
    return _first_wrong(summary, _SUMMARY)


def missing_summary_field(summary: Mapping[str, Any], kind: str) -> str:
    """Returns the name of the first field that a page needs and that is not there, or empty text.

    Args:
        summary: what ``summary.json`` holds.
        kind: ``run``, ``study``, ``ensemble`` or ``pseudo_label``.
    """
    missing = next((name for name in _NEEDED.get(kind, ()) if name not in summary), "")
    spreads = _NEEDED_SPREADS.get(kind, ())
    return missing or next(
        (f"statistics.{name}" for name in spreads if name not in summary["statistics"]), ""
    )


def wrong_result_field(result: Mapping[str, Any], kind: str = "") -> str:
    """Returns the name of the first field of a line of ``results.jsonl`` that has not its type.

    Args:
        result: the line.
        kind: as above, for what a page of that kind needs; empty where nothing but the types counts.
    """
    missing = (name for name in _RESULT_NEEDED.get(kind, ()) if name not in result)
    return next(missing, "") or _first_wrong(result, _RESULT)


def is_metrics_record(record: Any) -> bool:
    """Whether a value is what a line of ``metrics.jsonl`` holds."""
    return isinstance(record, dict) and is_count(record.get("step")) and not _first_wrong(record, _METRICS)


def _first_wrong(values: Mapping[str, Any], checks: Mapping[str, Check]) -> str:
    """The first dotted name whose value does not pass; what is not there passes."""
    for name, check in checks.items():
        *groups, last = name.split(".")
        group: Any = values
        for part in groups:
            group = group.get(part, {})
        if last in group and not check(group[last]):
            return name
    return ""
