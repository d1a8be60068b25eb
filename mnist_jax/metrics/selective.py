"""Answers only where a network is sure, and how sure it should be."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mnist_jax.metrics.predictions import Labels, Probabilities

_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.05, 20.0


class Coverage(NamedTuple):
    """What a network reaches on the examples that it is surest about."""

    coverage: float  # share of the examples that are answered
    threshold: float  # lowest confidence, the probability of the predicted class, that is answered
    num_answered: int
    errors: int  # among those that are answered

    @property
    def accuracy(self) -> float:
        """Fraction of the answers that are right."""
        return 1.0 - self.errors / self.num_answered


def accuracy_at_coverage(
    probabilities: Probabilities, labels: Labels, coverages: Sequence[float]
) -> list[Coverage]:
    """Leaves the least confident examples unanswered, so that a share of them is left.

    Args:
        probabilities: of the examples.
        labels: true classes.
        coverages: shares to answer, each above 0 and at most 1; rounded up to whole examples.

    Source:
        Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017, with the
        softmax response.

    Raises:
        ValueError: there are no examples, or a share is out of range.
    """
    if not len(labels) or any(not 0 < coverage <= 1 for coverage in coverages):
        raise ValueError(f"got {len(labels)} examples and shares {coverages}; expected some, and 0 to 1")
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(probabilities.argmax(axis=1)[order] != labels[order])
    found = []
    for coverage in coverages:
        # 0.95 * 100 is a little more than 95.
        count = max(int(np.ceil(coverage * len(labels) - 1e-9)), 1)
        found.append(Coverage(coverage, float(confidence[order[count - 1]]), count, int(wrong[count - 1])))
    return found


def with_temperature(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Returns the softmax of the logits divided by a temperature: above 1 less sure, below 1 surer."""
    tiny = np.finfo(np.float32).tiny
    logits = np.log(np.maximum(probabilities.astype(np.float64), tiny)) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


def fit_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """Returns the temperature with the lowest cross-entropy, on images that were not trained on.

    It changes no answer, only how sure the network is. Between 0.05 and 20.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        chosen = with_temperature(probabilities, float(np.exp(log_temperature)))[rows, labels]
        return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())

    bounds = (np.log(_LOWEST_TEMPERATURE), np.log(_HIGHEST_TEMPERATURE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
