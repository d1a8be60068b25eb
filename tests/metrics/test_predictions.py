"""Mistakes to look at, calibration and the interval of a counted fraction, against hand-computed cases."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mnist_jax.metrics.predictions import (
    calibration_bins,
    class_figures,
    confusion_matrix,
    expected_calibration_error,
    first_of_each_class,
    frequent_confusions,
    least_confident_hits,
    most_confident_mistakes,
    wilson_interval,
)

COUNTS = np.array([[8, 2, 0], [0, 9, 1], [0, 0, 0]])
PROBABILITIES = np.array([[0.9, 0.1], [0.65, 0.35], [0.3, 0.7], [0.05, 0.95]])
LABELS = np.array([0, 1, 1, 0])


def test_mistakes_and_hits_are_in_order_of_confidence():
    assert most_confident_mistakes(PROBABILITIES, LABELS, 9).tolist() == [3, 1]
    assert most_confident_mistakes(PROBABILITIES, LABELS, 1).tolist() == [3]
    assert least_confident_hits(PROBABILITIES, LABELS, 9).tolist() == [2, 0]
    assert least_confident_hits(PROBABILITIES, 1 - PROBABILITIES.argmax(axis=1), 9).tolist() == []


def test_confusions_are_ranked():
    assert frequent_confusions(COUNTS, 5) == [(0, 1, 2), (1, 2, 1)]


def test_first_of_each_class_keeps_the_order_of_the_data():
    assert first_of_each_class(np.array([7, 2, 7, 1, 0, 2]), 3).tolist() == [0, 1, 3]


def test_calibration_error_of_a_known_case():
    # Two bins with two examples each, by hand: |0.5 - 0.675| and |0.5 - 0.925|, equally weighted.
    bins = calibration_bins(PROBABILITIES, LABELS, num_bins=5)
    assert bins.num_examples.tolist() == [0, 0, 0, 2, 2]
    assert expected_calibration_error(bins) == pytest.approx((0.175 + 0.425) / 2)
    certain = calibration_bins(np.array([[1.0, 0.0]]), np.array([0]))
    assert certain.num_examples[-1] == 1 and expected_calibration_error(certain) == 0


def test_confidences_at_and_beyond_the_ends_are_in_the_outermost_bins():
    confidence = np.array([0.0, 1.0, 1.0000001])
    bins = calibration_bins(np.stack([confidence, np.zeros(3)], axis=1), np.zeros(3, np.int64), num_bins=4)
    assert bins.num_examples.tolist() == [1, 0, 0, 2]
    assert bins.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert np.isnan(bins.accuracy).tolist() == [False, True, True, False]


def test_wilson_interval_of_known_cases():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_the_wilson_interval_is_scipys():
    for hits, total in ((0, 9), (9, 9), (3, 7), (9955, 10000)):
        expected = binomtest(hits, total).proportion_ci(method="wilson")
        assert wilson_interval(hits, total) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_precision_recall_and_f1_by_hand():
    found = class_figures(COUNTS)
    np.testing.assert_allclose(found.recall, [0.8, 0.9, np.nan])
    np.testing.assert_allclose(found.precision, [1.0, 9 / 11, 0.0])
    np.testing.assert_allclose(found.f1, [8 / 9, 18 / 21, 0.0])
    assert found.num_examples.tolist() == [10, 10, 0]


def test_confusions_are_counted_by_true_and_by_predicted_class():
    labels, predicted = np.repeat([0, 0, 1, 1], [8, 2, 9, 1]), np.repeat([0, 1, 1, 2], [8, 2, 9, 1])
    np.testing.assert_array_equal(confusion_matrix(labels, predicted, 3), COUNTS)
    np.testing.assert_array_equal(confusion_matrix(labels[:0], predicted[:0], 3), np.zeros((3, 3)))
