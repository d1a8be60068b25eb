"""Answers left out where a network is not sure, and the temperature that its confidence is right with."""

import numpy as np
import pytest
from scipy.special import softmax

from mnist_jax.metrics.selective import accuracy_at_coverage, fit_temperature, with_temperature

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55]], np.float32)
LABELS = np.array([0, 0, 0, 1])  # the second, with the second highest confidence, is wrong


def test_the_least_sure_answers_are_left_out():
    found = accuracy_at_coverage(PROBABILITIES, LABELS, (1.0, 0.75, 0.5, 0.26, 0.25))
    assert [(f.num_answered, f.errors) for f in found] == [(4, 1), (3, 1), (2, 1), (2, 1), (1, 0)]
    np.testing.assert_allclose([f.threshold for f in found], [0.55, 0.6, 0.8, 0.8, 0.9], rtol=1e-6)
    assert [f.accuracy for f in found] == [0.75, 1 - 1 / 3, 0.5, 0.5, 1.0]


def test_a_share_of_whole_examples_is_not_rounded_up():
    probabilities, labels = np.full((100, 2), 0.5, np.float32), np.zeros(100, int)
    counts = [f.num_answered for f in accuracy_at_coverage(probabilities, labels, (0.95, 0.58, 0.29, 0.001))]
    assert counts == [95, 58, 29, 1]


@pytest.mark.parametrize("coverage", [0.0, 1.1, float("nan")])
def test_shares_are_above_0_and_at_most_1(coverage):
    with pytest.raises(ValueError, match="expected some, and 0 to 1"):
        accuracy_at_coverage(PROBABILITIES, LABELS, [coverage])


def test_a_temperature_divides_the_logits():
    logits = np.random.default_rng(0).normal(size=(50, 4))
    scaled = with_temperature(softmax(logits, axis=1), 2.5)
    np.testing.assert_allclose(scaled, softmax(logits / 2.5, axis=1), rtol=1e-12)
    certain = with_temperature(np.array([[1.0, 0.0]], np.float32), 3.0)
    assert np.isfinite(certain).all() and certain[0, 0] > certain[0, 1]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_fit_finds_how_labels_were_drawn(temperature):
    """Labels drawn from softmax(logits / T): logits claim too much for T above 1, too little below it."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 5))
    drawn = (rng.random((20_000, 1)) > np.cumsum(softmax(logits / temperature, axis=1), axis=1)).sum(axis=1)
    labels = np.minimum(drawn, 4)
    assert fit_temperature(softmax(logits, axis=1), labels) == pytest.approx(temperature, rel=0.05)


def test_a_network_that_is_always_right_gets_the_lowest_temperature():
    assert fit_temperature(PROBABILITIES, PROBABILITIES.argmax(axis=1)) < 0.06
