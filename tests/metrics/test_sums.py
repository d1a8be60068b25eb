"""Sums and counts equal NumPy's, add up however the examples are cut, and padding counts for nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.metrics.sums import EvaluationSums, Metrics, count_confusions

NUM_CLASSES = 4
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(12, NUM_CLASSES)) * 3, jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, NUM_CLASSES, 12), jnp.int32)


def reference(logits, labels):
    """Loss and confusion, one example at a time in float64."""
    loss, confusion = 0.0, np.zeros((NUM_CLASSES, NUM_CLASSES), int)
    for row, label in zip(np.asarray(logits, np.float64), np.asarray(labels), strict=True):
        loss += np.log(np.exp(row).sum()) - row[label]
        confusion[label, row.argmax()] += 1
    return loss, confusion


def test_metrics_of_a_batch():
    metrics = Metrics.from_batch(jnp.array([0.5, 2.0, 0.25]), jnp.array([True, False, True]))
    assert metrics.loss_sum == 2.75 and metrics.loss_sum.dtype == jnp.float32
    assert metrics.num_correct == 2 and metrics.num_correct.dtype == jnp.int32


def test_evaluation_sums_equal_a_loop():
    sums = EvaluationSums.from_logits(LOGITS, LABELS, jnp.ones(12, bool))
    loss, confusion = reference(LOGITS, LABELS)
    assert float(sums.loss_sum) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_array_equal(sums.confusion, confusion)
    assert sums.confusion.dtype == jnp.int32


def test_padding_counts_for_nothing_whatever_is_in_it():
    mask = jnp.arange(12) % 3 != 0
    logits = jnp.where(mask[:, None], LOGITS, jnp.nan)
    sums = EvaluationSums.from_logits(logits, LABELS, mask)
    loss, confusion = reference(LOGITS[mask], LABELS[mask])
    assert float(sums.loss_sum) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_array_equal(sums.confusion, confusion)


@settings(max_examples=20, derandomize=True)
@given(cuts=st.lists(st.integers(0, 12), max_size=4).map(sorted))
def test_merging_any_cut_equals_the_whole(cuts):
    whole = EvaluationSums.from_logits(LOGITS, LABELS, jnp.ones(12, bool))
    merged = EvaluationSums.empty(NUM_CLASSES)
    for start, end in zip([0, *cuts], [*cuts, 12], strict=True):
        # The same shape every time, so that nothing is compiled anew.
        inside = (jnp.arange(12) >= start) & (jnp.arange(12) < end)
        merged = merged.merge(EvaluationSums.from_logits(LOGITS, LABELS, inside))
    np.testing.assert_array_equal(merged.confusion, whole.confusion)
    np.testing.assert_allclose(merged.loss_sum, whole.loss_sum, rtol=1e-6)


def test_sums_pass_through_jit_and_scan():
    def body(sums, example):
        logits, label = example
        return sums.merge(EvaluationSums.from_logits(logits[None], label[None], jnp.ones(1, bool))), None

    start = EvaluationSums.empty(NUM_CLASSES)
    sums = jax.jit(lambda *examples: jax.lax.scan(body, start, examples)[0])(LOGITS, LABELS)
    loss, confusion = reference(LOGITS, LABELS)
    assert float(sums.loss_sum) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_array_equal(sums.confusion, confusion)


def test_confusions_are_counted_by_true_class_in_rows():
    labels, predicted = np.array([0, 0, 2, 1, 0]), np.array([1, 1, 2, 0, 0])
    counts = count_confusions(labels, predicted, 3)
    np.testing.assert_array_equal(counts, [[1, 2, 0], [1, 0, 0], [0, 0, 1]])
    assert counts.dtype == jnp.int32
    counted = count_confusions(labels, predicted, 3, jnp.array([True, False, True, True, False]))
    np.testing.assert_array_equal(counted, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
