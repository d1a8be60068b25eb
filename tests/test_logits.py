"""Logits of a whole data set and what is counted from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.evaluation import Evaluator
from mnist_jax.logits import evaluate_logits, make_logits_fn, softmax
from tests.conftest import TINY_NUM_CLASSES


@pytest.mark.parametrize("batch_size", [10, 83, 500])
def test_every_image_is_answered_once_whatever_the_batch(make_tiny_state, tiny_data, batch_size):
    state = make_tiny_state()
    images, labels = tiny_data
    logits = np.asarray(make_logits_fn(state.apply_fn, batch_size)(state.variables(), images))
    expected = state.apply_fn(state.variables(), jnp.asarray(images / np.float32(255)), train=False)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    ours = evaluate_logits(logits, labels)
    theirs = Evaluator(state.apply_fn, batch_size=batch_size, num_classes=TINY_NUM_CLASSES)(
        state.variables(), images, labels
    )
    assert (ours.errors, ours.confusion_matrix) == (theirs.errors, theirs.confusion_matrix)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
    assert ours.per_class_accuracy == theirs.per_class_accuracy


def test_probabilities_of_far_logits_are_finite():
    logits = np.array([[1e4, -1e4], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(softmax(logits), [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(softmax(logits * 1e-4), jax.nn.softmax(jnp.asarray(logits * 1e-4)), atol=1e-6)
