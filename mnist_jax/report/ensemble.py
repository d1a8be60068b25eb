"""The page of an ensemble: the vote against its members, where they differ, what it gets wrong."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from mnist_jax.config.check import from_dict
from mnist_jax.data import Dataset, Splits
from mnist_jax.data.writers import disputed_labels
from mnist_jax.errors import MnistJaxError, RunError
from mnist_jax.metrics.predictions import most_confident_mistakes, wilson_interval
from mnist_jax.metrics.voting import pairwise_disagreement
from mnist_jax.report import member_figures, sections
from mnist_jax.report.images import percent, picture_uri
from mnist_jax.report.inline import inline_svg
from mnist_jax.report.record import RunRecord
from mnist_jax.run.datasets import divide, load_recorded
from mnist_jax.storage.results import read_results
from mnist_jax.storage.votes import VOTES_FILE, Votes, read_votes
from mnist_jax.terminal.format import describe_disputed, format_percent

_GRID_SIZE = 24
_MOST_MISTAKES = 200


def describe_ensemble(record: RunRecord, splits: Splits | None = None) -> dict[str, Any]:
    """Everything that the page of an ensemble shows, finished or not.

    Args:
        record: its files.
        splits: its data, or None to load it.
    """
    summary, names = record.summary, record.run["class_names"]
    values: dict[str, Any] = {
        "split": record.run["split"],
        "ink": record.is_ink,
        "trained": len(read_results(record.folder)),
        **sections.closing(record, "ensemble", f"--split {record.run['split']}"),
    }
    if not summary:
        return values
    models = [member["model"].encode("utf-8", "backslashreplace").decode() for member in summary["members"]]
    seeds = [member["seed"] for member in summary["members"]]
    members = [f"{model}, seed {seed}" for model, seed in zip(models, seeds, strict=True)]
    votes, images, missing = None, None, ""
    try:
        votes, images = _read_votes(record.folder), _measured(record, splits)
        if votes.sha256 != images.sha256:
            raise RunError(f"{VOTES_FILE} is not of the images of the data; start the ensemble again")
    except MnistJaxError as error:
        votes, missing = None, str(error)
    confusion = np.array(summary["confusion_matrix"])
    pictures = _pictures(record, votes, images) if votes is not None and images is not None else None
    return values | {
        "headline": _headline(summary, record, int(confusion.sum())),
        "figures": _figures(summary, members, int(confusion.sum()), votes),
        "members": _members_table(summary, members),
        "classes": sections.classes(confusion, names),
        "pictures": pictures,
        "missing": missing,
    }


def _read_votes(folder: Path) -> Votes:
    votes = read_votes(folder)
    if votes is None:
        raise RunError(f"there is no {VOTES_FILE}; start the same command again, it trains nothing twice")
    return votes


def _measured(record: RunRecord, splits: Splits | None) -> Dataset:
    config = from_dict(record.config)
    splits = splits or load_recorded(config, record.run)
    if record.run["split"] == "test":
        return splits.test
    held_out = divide(config, splits)[1].validation
    if held_out is None:
        raise RunError("config.json holds no image out; expected those the ensemble was measured on")
    return held_out


def _headline(summary: dict[str, Any], record: RunRecord, total: int) -> dict[str, Any]:
    vote, members = summary["soft_vote"], summary["members"]
    low, high = wilson_interval(total - vote["errors"], total)
    best = min(members, key=lambda member: member["errors"])
    mean = sum(member["accuracy"] for member in members) / len(members)
    calibration = sum(member["calibration_error"] for member in members) / len(members)
    return {
        "accuracy": format_percent(vote["accuracy"]),
        "errors": f"{vote['errors']:,}",
        "disputed": describe_disputed(summary["disputed_labels"]) if "disputed_labels" in summary else "",
        "total": f"{total:,}",
        "interval": f"{100 * low:.2f} to {100 * high:.2f}%",
        "facts": [
            ("members", str(summary["num_members"]), f"{summary['num_params']:,} parameters in all"),
            ("their mean", format_percent(mean), f"the vote: {100 * summary['gain']:+.2f} points"),
            ("best member", format_percent(best["accuracy"]), f"{best['model']}, seed {best['seed']}"),
            ("disagreement", format_percent(summary["disagreement"]), "of the images, two members at random"),
            (
                "majority vote",
                format_percent(summary["majority_vote"]["accuracy"]),
                "each member one voice",
            ),
            (
                "calibration error",
                f"{100 * vote['calibration_error']:.2f}",
                f"points; members {100 * calibration:.2f}",
            ),
        ],
    }


def _figures(
    summary: dict[str, Any], names: list[str], total: int, votes: Votes | None
) -> list[dict[str, str]]:
    errors = [member["errors"] for member in summary["members"]]
    vote = ("the vote", summary["soft_vote"]["errors"] / total)
    drawn = [
        {
            "svg": inline_svg(
                member_figures.accuracies(
                    names, errors, total, mean=float(np.mean(errors)) / total, line=vote
                ),
                "members",
                "Wrong answers of each member, their mean and the vote",
            ),
            "caption": "Each dot is a member, the best and the worst in orange.",
        }
    ]
    if len(names) > 1:
        figure = member_figures.accuracy_by_size(summary["accuracy_by_size"])
        drawn.append(
            {
                "svg": inline_svg(figure, "sizes", "Wrong answers by the number of members"),
                "caption": "A vote of fewer members: the mean over disjoint groups of neighbors.",
            }
        )
        if votes is not None:
            figure = member_figures.disagreements(pairwise_disagreement(votes.chosen), names)
            drawn.append(
                {
                    "svg": inline_svg(figure, "disagreement", "Share of images on which two members differ"),
                    "caption": "Share of the images, in percent, on which two members differ.",
                }
            )
    return drawn


def _members_table(summary: dict[str, Any], names: list[str]) -> dict[str, Any]:
    measured = [summary["soft_vote"], *summary["members"]]
    columns = {
        "": ["the vote", *names],
        "right": [format_percent(member["accuracy"]) for member in measured],
        "errors": [f"{member['errors']:,}" for member in measured],
        "loss (nats)": [f"{member['loss']:.4f}" for member in measured],
        "calibration error (points)": [f"{100 * member['calibration_error']:.2f}" for member in measured],
    }
    if any("variant" in member for member in measured):
        columns["differs in"] = ["", *(str(member.get("variant", "")) for member in summary["members"])]
    return {"head": tuple(columns), "rows": list(zip(*columns.values(), strict=True))}


def _pictures(record: RunRecord, votes: Votes, images: Dataset) -> dict[str, Any]:
    labels, names = images.labels, record.run["class_names"]
    wrong = most_confident_mistakes(votes.probabilities, labels, len(labels))
    answered = votes.probabilities.argmax(axis=1)
    right_members = (votes.chosen == labels).sum(axis=0)
    num_members = len(votes.chosen)
    # Right answers with the fewest members behind them.
    right = np.flatnonzero(answered == labels)
    split = right[np.argsort(right_members[right], kind="stable")]
    split = split[right_members[split] < num_members][:_GRID_SIZE]
    disputed = disputed_labels(images.sha256)

    def card(index: int) -> dict[str, str]:
        return {
            "picture": picture_uri(images.images[index], record.is_ink),
            "true": names[labels[index]],
            "predicted": names[answered[index]],
            "confidence": percent(votes.probabilities[index].max()),
            "said": _said(votes.chosen[:, index], names),
            "index": str(index),
            "disputed": disputed.get(index, ""),
        }

    return {
        "mistakes": [card(index) for index in wrong[:_GRID_SIZE].tolist()],
        "rest": [card(index) for index in wrong[_GRID_SIZE : _GRID_SIZE + _MOST_MISTAKES].tolist()],
        "num_mistakes": f"{len(wrong):,}",
        "nobody": f"{int((right_members == 0).sum()):,}",
        "somebody": f"{int(((right_members > 0) & (answered != labels)).sum()):,}",
        "rescued": f"{int(((right_members <= num_members / 2) & (answered == labels)).sum()):,}",
        "split": [card(index) for index in split.tolist()],
        "all_agree": _all_agree(votes.chosen),
    }


def _said(chosen: Int[np.ndarray, " members"], names: list[str]) -> str:
    classes, counts = np.unique(chosen, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:4]
    return ", ".join(f"{counts[i]}× {names[classes[i]]}" for i in order)


def _all_agree(chosen: Int[np.ndarray, "members examples"]) -> str:
    return format_percent(float((chosen == chosen[0]).all(axis=0).mean()))
