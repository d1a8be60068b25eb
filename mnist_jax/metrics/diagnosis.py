"""Signs in the figures of a finished training that something is wrong, each with what to try."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

# Beyond what augmentation, dropout and a hard test set explain.
_LARGE_GAP = 0.15
# So few examples of a class may all be missed by a network that finds half of them (0.5 ** 7 < 0.01).
_FEWEST_OF_A_CLASS = 7
_MOST_NAMED = 5


def find_problems(
    train_accuracy: float,
    train_class_counts: Int[np.ndarray, " classes"],
    num_train_seen: int,
    confusion: Int[np.ndarray, "classes classes"],
    class_names: Sequence[str],
    split: str = "test",
) -> list[str]:
    """Returns one line for each sign that a training went wrong; none for one that went well.

    Nothing is said that a small evaluation set could show by chance: accuracies are taken with their 95%
    Clopper-Pearson intervals.

    ``train_accuracy``, a fraction, is over the ``num_train_seen`` images of the last epoch; ``confusion`` is
    that of the evaluated split, with true classes in rows.

    Raises:
        ValueError: nothing was evaluated.
    """
    num_examples = int(confusion.sum())
    if num_examples == 0:
        raise ValueError("no examples were evaluated; expected at least one")
    of_class = confusion.sum(axis=1)
    hits = int(np.trace(confusion))
    accuracy = hits / num_examples
    guess = of_class.max() / num_examples
    train_guess = train_class_counts.max() / train_class_counts.sum()
    several = np.count_nonzero(train_class_counts) > 1

    # Intervals are asked for last: of a training that went well, nobody needs them.
    if (
        several
        and train_accuracy < (1 + train_guess) / 2
        and _interval(round(train_accuracy * num_train_seen), num_train_seen)[0] <= train_guess
    ):
        return [
            f"training accuracy is {train_accuracy:.1%}, no better than always guessing the most frequent "
            f"class ({train_guess:.1%}): check that the labels belong to the images; else try a lower "
            "optim.learning_rate or more epochs"
        ]
    problems = []
    if several and accuracy < (1 + guess) / 2 and _is_at_chance(hits, num_examples, guess):
        problems.append(
            f"{split} accuracy is {accuracy:.1%}, no better than always guessing the most frequent class "
            f"({guess:.1%}), while training reached {train_accuracy:.1%}: check that the {split} images were "
            "made and labeled as the training images were; else train longer or on more images"
        )
    elif (
        train_accuracy - accuracy > _LARGE_GAP
        and train_accuracy - _interval(hits, num_examples)[1] > _LARGE_GAP
    ):
        problems.append(
            f"training accuracy is {train_accuracy:.1%} but {split} accuracy only {accuracy:.1%}: the "
            f"network has learned its training images by heart, or the {split} images are of another kind; "
            "try more images, stronger augment.* or model.dropout_rate"
        )
    ignored = np.flatnonzero((confusion.sum(axis=0) == 0) & (of_class >= _FEWEST_OF_A_CLASS))
    if len(ignored):
        names = ", ".join(repr(class_names[i]) for i in ignored[:_MOST_NAMED])
        names += f" and {len(ignored) - _MOST_NAMED} more" if len(ignored) > _MOST_NAMED else ""
        problems.append(
            f"never predicted on {split}: {names}; check the training images of "
            f"{'it' if len(ignored) == 1 else 'these classes'}, or train longer"
        )
    return problems


def _is_at_chance(hits: int, num_examples: int, guess: float) -> bool:
    low, high = _interval(hits, num_examples)
    return bool(low <= guess and high < (1 + guess) / 2)


def _interval(hits: int, num_examples: int) -> tuple[float, float]:
    from scipy.special import betaincinv  # here, because its import takes longer than all of this

    low = betaincinv(hits, num_examples - hits + 1, 0.025) if hits else 0.0
    high = betaincinv(hits + 1, num_examples - hits, 0.975) if hits < num_examples else 1.0
    return float(low), float(high)
