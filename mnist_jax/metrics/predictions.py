"""What probabilities and labels tell: images to look at, how far to trust a confidence."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Probabilities = Float[np.ndarray, "examples classes"]
Labels = Int[np.ndarray, " examples"]

# The quantile of the standard normal distribution that 97.5% lie below.
_Z = 1.959963984540054


class CalibrationBins(NamedTuple):
    """Examples grouped by the probability of their predicted class; every field has one entry a bin."""

    edges: np.ndarray  # float64, one more than bins
    num_examples: np.ndarray  # int64
    confidence: np.ndarray  # float64, mean of the bin; NaN for an empty one
    accuracy: np.ndarray  # float64, fraction; NaN for an empty one


def most_confident_mistakes(
    probabilities: Probabilities, labels: Labels, limit: int
) -> Int[np.ndarray, " found"]:
    """Returns the indices of at most ``limit`` wrong predictions, the most confident first."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:limit]


def least_confident_hits(
    probabilities: Probabilities, labels: Labels, limit: int
) -> Int[np.ndarray, " found"]:
    """Returns the indices of at most ``limit`` right predictions, the least confident first."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = np.flatnonzero(predicted == labels)
    return right[np.argsort(confidence[right], kind="stable")][:limit]


def first_of_each_class(labels: Labels, limit: int) -> Int[np.ndarray, " found"]:
    """Returns the index of the first example of each class, for the ``limit`` classes that appear first."""
    return np.sort(np.unique(labels, return_index=True)[1])[:limit]


def confusion_matrix(
    labels: Int[np.ndarray, " examples"], predicted: Int[np.ndarray, " examples"], num_classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Counts examples by true class (rows) and predicted class (columns), on the host."""
    pairs = np.ravel_multi_index((labels, predicted), (num_classes, num_classes))
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def frequent_confusions(
    confusion: Int[np.ndarray, "classes classes"], limit: int
) -> list[tuple[int, int, int]]:
    """Returns the most frequent mistakes as (true class, predicted class, count)."""
    mistakes = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(i), confusion.shape[1]) for i in order]
    return [
        (true, predicted, int(mistakes[true, predicted]))
        for true, predicted in pairs
        if mistakes[true, predicted]
    ]


def calibration_bins(probabilities: Probabilities, labels: Labels, num_bins: int = 15) -> CalibrationBins:
    """Groups examples by confidence into bins of equal width over [0, 1].

    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017: 15 bins, each without its lower edge.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    divisor = np.where(count, count, np.nan)
    return CalibrationBins(
        edges,
        count,
        np.bincount(bins, confidence, num_bins) / divisor,
        np.bincount(bins, right, num_bins) / divisor,
    )


def expected_calibration_error(bins: CalibrationBins) -> float:
    """Returns the mean gap between confidence and accuracy; 0 is perfect (Guo et al. 2017)."""
    gaps = np.nan_to_num(np.abs(bins.accuracy - bins.confidence))
    return float((bins.num_examples * gaps).sum() / max(bins.num_examples.sum(), 1))


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Returns the 95% confidence interval of a fraction that was counted (Wilson 1927)."""
    # As scipy.stats.binomtest(...).proportion_ci(method="wilson"), whose import takes longer than a report.
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    center = share + _Z**2 / (2 * trials)
    half = _Z * math.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2))
    low, high = ((center + sign * half) / (1 + _Z**2 / trials) for sign in (-1, 1))
    return 0.0 if successes == 0 else low, 1.0 if successes == trials else high


class ClassFigures(NamedTuple):
    """How well each class is found, one entry a class; NaN where there is nothing to divide by."""

    num_examples: np.ndarray  # int64, of the true class
    num_predicted: np.ndarray  # int64
    precision: np.ndarray  # float64: share of the predictions of a class that are right
    recall: np.ndarray  # float64: share of the examples of a class that are found
    f1: np.ndarray  # float64: harmonic mean of the two


def class_figures(confusion: Int[np.ndarray, "classes classes"]) -> ClassFigures:
    """Returns precision, recall and F1 of each class from a confusion matrix with true classes in rows."""
    hits, examples, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall, f1 = (
        numerator / np.where(denominator, denominator, np.nan)
        for numerator, denominator in ((hits, predicted), (hits, examples), (2 * hits, examples + predicted))
    )
    return ClassFigures(examples, predicted, precision, recall, f1)
