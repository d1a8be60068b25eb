"""Which images have a label, which pseudo labels are confident, what a student learns from."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

Images = UInt8[np.ndarray, "_ height width channels"]


class Drawn(NamedTuple):
    """What a seed works with."""

    labeled: tuple[np.ndarray, np.ndarray]  # images and labels
    pool: np.ndarray  # images whose labels are not used
    # Their labels where there are any, to judge the pseudo labels and to answer queries.
    hidden: np.ndarray | None

    def query(self, rows: np.ndarray) -> "Drawn":
        """Gives the images ``rows`` of the pool their labels, which must be known."""
        assert self.hidden is not None
        images, labels = self.labeled
        images = np.concatenate([images, self.pool[rows]])
        labels = np.concatenate([labels, self.hidden[rows]])
        return Drawn((images, labels), np.delete(self.pool, rows, axis=0), np.delete(self.hidden, rows))


def draw_labeled(
    labels: Int[np.ndarray, " examples"], num_labeled: int, num_classes: int, seed: int
) -> Int[np.ndarray, " labeled"]:
    """Draws the images whose labels are used, as equally many of each class as the number allows.

    Returns:
        indices into ``labels``, those of all training images; rising.

    Raises:
        ValueError: for more images than there are, fewer than classes, or a class with too few.
    """
    if not num_classes <= num_labeled < len(labels):
        raise ValueError(
            f"{num_labeled} labeled images; expected at least one of each of the {num_classes} classes, "
            f"and fewer than the {len(labels)} there are"
        )
    rng = np.random.default_rng([seed, 0])
    more = set(rng.permutation(num_classes)[: num_labeled % num_classes].tolist())
    drawn = []
    for label in range(num_classes):
        members = np.flatnonzero(labels == label)
        wanted = num_labeled // num_classes + (label in more)
        if wanted > len(members):
            raise ValueError(f"class {label} has {len(members)} images; expected at least {wanted}")
        drawn.append(rng.choice(members, wanted, replace=False))
    return np.sort(np.concatenate(drawn))


def confident(
    probabilities: Float[np.ndarray, "pool classes"], threshold: float
) -> Int[np.ndarray, " accepted"]:
    """Returns the indices of the images whose likeliest class has at least this probability."""
    return np.flatnonzero(probabilities.max(axis=1) >= threshold)


def smoothed_confidence(label_smoothing: float, num_classes: int) -> float:
    """Returns the probability that smoothed labels give to the true class; a sure network says as much."""
    return 1.0 - label_smoothing + label_smoothing / num_classes


def least_sure(probabilities: Float[np.ndarray, "pool classes"], count: int) -> Int[np.ndarray, " count"]:
    """Returns the indices of the images whose two likeliest classes are nearest to each other, these first.

    Margin sampling (Scheffer et al. 2001): a label tells a network most where it wavers between two.
    """
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    return np.argsort(first - second, kind="stable")[:count]


def repeat_to(
    indices: Int[np.ndarray, " some"], num_examples: int, rng: np.random.Generator
) -> Int[np.ndarray, " many"]:
    """Draws indices in random order, each as often as any other (give or take one)."""
    rounds = -(-num_examples // len(indices))
    return np.concatenate([rng.permutation(indices) for _ in range(rounds)])[:num_examples]


def supervised_set(
    images: Images, labels: Int[np.ndarray, " labeled"], num_examples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Repeats the labeled images to the number that a training without pseudo labels takes."""
    rows = repeat_to(np.arange(len(labels)), num_examples, np.random.default_rng([seed, 1]))
    return images[rows], labels[rows]


def student_set(
    labeled: tuple[Images, Int[np.ndarray, " labeled"]],
    pool_images: Images,
    probabilities: Float[np.ndarray, "pool classes"],
    accepted: Int[np.ndarray, " accepted"],
    *,
    num_examples: int,
    labeled_share: float,
    soft: bool,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Puts together what a student learns from, always of one size, so that one program trains them all.

    A ``labeled_share`` of it has true labels, repeated as often as needed; the rest are the ``accepted``
    images of the pool, at least one. Their labels are the teacher's ``probabilities`` where ``soft``, else
    its likeliest class.

    Returns:
        uint8 images, and int32 labels ``[N]`` or, for soft ones, float32 ``[N, classes]``.
    """
    rng = np.random.default_rng([seed, 2])
    images, labels = labeled
    num_labeled = min(max(1, round(labeled_share * num_examples)), num_examples - 1)
    true_rows = repeat_to(np.arange(len(labels)), num_labeled, rng)
    pseudo_rows = repeat_to(accepted, num_examples - num_labeled, rng)
    together = np.concatenate([images[true_rows], pool_images[pseudo_rows]])
    if not soft:
        pseudo = probabilities[pseudo_rows].argmax(axis=1).astype(np.int32)
        return together, np.concatenate([labels[true_rows], pseudo])
    one_hot = np.eye(probabilities.shape[1], dtype=np.float32)[labels[true_rows]]
    return together, np.concatenate([one_hot, probabilities[pseudo_rows].astype(np.float32)])


def describe_accepted(
    drawn: Drawn,
    probabilities: Float[np.ndarray, "pool classes"],
    accepted: Int[np.ndarray, " accepted"],
) -> dict[str, Any]:
    """Counts the pseudo labels that are accepted, and those of them that are right where that is known."""
    given, classes = probabilities[accepted].argmax(axis=1), probabilities.shape[1]
    figures: dict[str, Any] = {
        "labeled": len(drawn.labeled[1]),
        "accepted": len(accepted),
        "accepted_share": len(accepted) / len(drawn.pool),
        "accepted_by_class": np.bincount(given, minlength=classes).tolist(),
    }
    if drawn.hidden is not None:
        right = given == drawn.hidden[accepted]
        figures["pseudo_label_accuracy"] = float(right.mean())
        figures["right_by_class"] = np.bincount(given[right], minlength=classes).tolist()
        figures["pool_by_class"] = np.bincount(drawn.hidden, minlength=classes).tolist()
    return figures
