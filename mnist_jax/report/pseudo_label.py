"""The page of pseudo labels: teacher, students and the same labels alone; which labels were accepted."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mnist_jax.metrics.statistics import summarize
from mnist_jax.report import member_figures, sections
from mnist_jax.report.inline import inline_svg
from mnist_jax.report.record import RunRecord
from mnist_jax.report.study import best_and_worst, describe_interval, describe_spread
from mnist_jax.terminal.format import format_duration, format_percent


def describe_pseudo_label(record: RunRecord) -> dict[str, Any]:
    """Everything that the page of pseudo labels shows, finished or not.

    Raises:
        RunError: its results are damaged.
    """
    results = record.results()
    split = str(record.run["split"])
    values: dict[str, Any] = {
        "split": split,
        "results": results,
        "unfinished": not record.summary,
        **sections.closing(record, "pseudo_label", f"--split {split}"),
    }
    if not results:
        return values
    return values | {
        "headline": _headline(record, results),
        "stages": _stages(results),
        "table": _table(results),
        "rounds": _rounds(results),
        "accepted": _accepted(record, results),
        "missing": "the results do not say which classes were accepted; they are of an earlier version",
    }


def _statistics(record: RunRecord, results: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    if record.summary:
        return record.summary["statistics"]
    return {
        "student_accuracy": asdict(summarize([r["accuracy"] for r in results])),
        "teacher_accuracy": asdict(summarize([r["teacher"]["accuracy"] for r in results])),
        "supervised_only_accuracy": asdict(summarize([r["supervised_only"]["accuracy"] for r in results])),
        "gain_over_teacher": asdict(summarize([r["gain_over_teacher"] for r in results])),
        "gain_over_supervised": asdict(summarize([r["gain_over_supervised"] for r in results])),
    }


def _headline(record: RunRecord, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    statistics, steps = _statistics(record, results), results[0]["steps"]
    student, gain = statistics["student_accuracy"], statistics["gain_over_supervised"]
    best, worst = best_and_worst(results)
    queried = _queried(results)
    return {
        "result": describe_spread(student, 2),
        "interval": describe_interval(student, 2),
        "n": student["n"],
        "labeled": f"{results[0]['labeled']:,}",
        "queried": f" ({queried[0][1]} of them queried)" if queried else "",
        "gain": f"{100 * gain['mean']:+.2f}",
        "gain_spread": f" ± {100 * gain['sd']:.2f}" if gain["sd"] is not None else "",
        "facts": [
            (
                "teacher",
                describe_spread(statistics["teacher_accuracy"], 2).removesuffix(" %"),
                f"%, {steps['teacher']:,} steps",
            ),
            (
                "labels alone",
                describe_spread(statistics["supervised_only_accuracy"], 2).removesuffix(" %"),
                f"%, {steps['alone']:,} steps, as many as all the others",
            ),
            (
                "students",
                sections.count_of(len(results[0]["rounds"]), "round"),
                f"{steps['student']:,} steps each",
            ),
            *queried,
            ("pool", f"{results[0]['pool_size']:,}", f"unlabeled images, from {results[0]['pool']}"),
            (
                "best and worst",
                f"{format_percent(best['accuracy'])}, {format_percent(worst['accuracy'])}",
                f"seeds {best['seed']} and {worst['seed']}",
            ),
            ("training", format_duration(sum(r["train_seconds"] for r in results)), "all seeds"),
        ],
    }


def _queried(results: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """The fact that labels were queried, where they were; earlier results do not say."""
    if not (queried := results[0].get("queried")):
        return []
    wrong = [sum(figures.get("queried_wrong", 0) for figures in result["rounds"]) for result in results]
    text = f"of the labels, where a network was least sure; it was wrong on {np.mean(wrong):,.0f}"
    return [("queried", f"{queried:,}", text)]


def _stages(results: Sequence[dict[str, Any]]) -> str:
    num_rounds = len(results[0]["rounds"])
    names = ["teacher", *(f"student {i + 1}" for i in range(num_rounds)), "labels alone"]
    wrong = {
        str(result["seed"]): [
            1 - figures["accuracy"]
            for figures in (result["teacher"], *result["rounds"], result["supervised_only"])
        ]
        for result in results
    }
    mean = np.mean(list(wrong.values()), axis=0).tolist()
    return inline_svg(member_figures.stages(names, wrong, mean), "stages", "Wrong answers after each stage")


def _table(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rounds = range(len(results[0]["rounds"]))
    return {
        "head": ("seed", "teacher", *(f"student {i + 1}" for i in rounds), "labels alone", "gain"),
        "rows": [
            (
                str(result["seed"]),
                format_percent(result["teacher"]["accuracy"]),
                *(format_percent(figures["accuracy"]) for figures in result["rounds"]),
                format_percent(result["supervised_only"]["accuracy"]),
                f"{100 * result['gain_over_supervised']:+.2f}",
            )
            for result in results
        ],
    }


def _rounds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rows = []
    for number in range(len(results[0]["rounds"])):
        figures = [result["rounds"][number] for result in results]
        right = [figure["pseudo_label_accuracy"] for figure in figures if "pseudo_label_accuracy" in figure]
        rows.append(
            (
                f"round {number + 1}",
                f"{np.mean([figure['accepted'] for figure in figures]):,.0f}",
                format_percent(float(np.mean([figure["accepted_share"] for figure in figures]))),
                format_percent(float(np.mean(right))) if right else "not known",
            )
        )
    return {"head": ("mean over the seeds", "labels accepted", "of the pool", "of them right"), "rows": rows}


def _accepted(record: RunRecord, results: Sequence[dict[str, Any]]) -> dict[str, str] | None:
    if not all("accepted_by_class" in figures for result in results for figures in result["rounds"]):
        return None

    def mean(field: str) -> np.ndarray | None:
        if not all(field in figures for result in results for figures in result["rounds"]):
            return None
        counts = [[figures[field] for figures in result["rounds"]] for result in results]
        return np.round(np.mean(counts, axis=0)).astype(int)

    accepted, right = mean("accepted_by_class"), mean("right_by_class")
    assert accepted is not None
    figure = member_figures.counts_by_class(accepted, right, record.run["class_names"])
    share = accepted[-1] / max(accepted[-1].sum(), 1)
    names = record.run["class_names"]
    rarest, most = int(share.argmin()), int(share.argmax())
    return {
        "svg": inline_svg(figure, "accepted", "Accepted labels of each class in each round"),
        "caption": (
            f"In the last round {names[most]} has most of the accepted labels "
            f"({format_percent(share[most], 1)}), {names[rarest]} the fewest "
            f"({format_percent(share[rarest], 1)}); the mean over the seeds."
        ),
    }
