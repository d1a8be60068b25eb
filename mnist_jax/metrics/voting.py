"""Votes of several networks, how far they agree, and what each size of ensemble gives."""

import numpy as np
from jaxtyping import Float, Int

from mnist_jax.metrics.predictions import calibration_bins, expected_calibration_error

MemberProbabilities = Float[np.ndarray, "members examples classes"]


def soft_vote(probabilities: MemberProbabilities) -> Float[np.ndarray, "examples classes"]:
    """Returns the mean of the members' probabilities."""
    return probabilities.mean(axis=0)


def majority_vote(probabilities: MemberProbabilities) -> Int[np.ndarray, " examples"]:
    """Returns the class of most votes; of equally many, the one with the higher mean probability."""
    num_classes = probabilities.shape[2]
    votes = (probabilities.argmax(axis=2)[..., None] == np.arange(num_classes)).sum(axis=0)
    most = votes == votes.max(axis=1, keepdims=True)
    return np.where(most, probabilities.mean(axis=0), -1.0).argmax(axis=1)


def disagreement(probabilities: MemberProbabilities) -> float:
    """Returns the share of examples that two members, drawn at random, classify differently; 0 for one."""
    num_members = len(probabilities)
    if num_members < 2:
        return 0.0
    shares = pairwise_disagreement(probabilities.argmax(axis=2))
    return sum(float(shares[i, j]) for i in range(num_members) for j in range(i)) / (
        num_members * (num_members - 1) // 2
    )


def pairwise_disagreement(
    chosen: Int[np.ndarray, "members examples"],
) -> Float[np.ndarray, "members members"]:
    """Returns the share of examples that each two members classify differently, from their classes."""
    return np.array([[(one != other).mean() for other in chosen] for one in chosen])


def accuracy_by_size(
    probabilities: MemberProbabilities, labels: Int[np.ndarray, " examples"]
) -> list[dict[str, float | int]]:
    """Returns the accuracy of a soft vote of each size, averaged over disjoint groups of neighbors.

    Returns:
        for each size from 1 to all members ``size``, ``groups`` (how many fit) and their mean ``accuracy``.
    """
    num_members = len(probabilities)
    sizes = []
    for size in range(1, num_members + 1):
        groups = num_members // size
        accuracies = [
            float((soft_vote(probabilities[i * size : (i + 1) * size]).argmax(axis=1) == labels).mean())
            for i in range(groups)
        ]
        sizes.append({"size": size, "groups": groups, "accuracy": sum(accuracies) / groups})
    return sizes


def describe_vote(
    probabilities: MemberProbabilities, labels: Int[np.ndarray, " examples"]
) -> dict[str, object]:
    """Summarizes an ensemble.

    Returns:
        ``soft_vote`` (``accuracy``, ``errors``, ``loss`` in nats, ``calibration_error``), ``majority_vote``
        (``accuracy``, ``errors``), ``members`` (the same of each, as for the soft vote), ``disagreement``,
        ``accuracy_by_size`` and ``gain``, the soft vote's accuracy less the members' mean.
    """
    voted = majority_vote(probabilities)
    members = [describe_probabilities(member, labels) for member in probabilities]
    soft = describe_probabilities(soft_vote(probabilities), labels)
    return {
        "soft_vote": soft,
        "majority_vote": {
            "accuracy": float((voted == labels).mean()),
            "errors": int((voted != labels).sum()),
        },
        "members": members,
        "disagreement": disagreement(probabilities),
        "accuracy_by_size": accuracy_by_size(probabilities, labels),
        "gain": float(soft["accuracy"] - np.mean([member["accuracy"] for member in members])),
    }


def describe_probabilities(
    probabilities: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> dict[str, float | int]:
    """Returns ``accuracy``, ``errors``, ``loss`` (negative log likelihood in nats), ``calibration_error``."""
    errors = int((probabilities.argmax(axis=1) != labels).sum())
    of_truth = np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(np.float64).tiny)
    return {
        "accuracy": 1.0 - errors / len(labels),
        "errors": errors,
        "loss": float(-np.log(of_truth).mean()),
        "calibration_error": expected_calibration_error(calibration_bins(probabilities, labels)),
    }
