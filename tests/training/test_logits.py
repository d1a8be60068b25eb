"""Logits of a whole data set and what is counted from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.training.evaluation import Evaluator
from mnist_jax.training.logits import evaluate_logits, make_logits_fn, make_view_probabilities_fn
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
    assert (ours.accuracy, ours.num_examples) == (theirs.accuracy, theirs.num_examples)
    assert ours.accuracy == pytest.approx(1 - ours.errors / len(labels))
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
    assert ours.per_class_accuracy == theirs.per_class_accuracy


@pytest.mark.parametrize("batch_size", [10, 83, 500])
def test_probabilities_are_the_mean_over_an_image_and_its_changed_copies(
    make_tiny_state, tiny_data, batch_size
):
    """The changes are brightness here, so that what each view gives can be told by hand."""
    state, (images, _) = make_tiny_state(), tiny_data

    def darken(key, batch):
        return batch * jax.random.uniform(key)

    def answer(view):
        return np.asarray(jax.nn.softmax(state.apply_fn(state.variables(), view, train=False)))

    key = jax.random.key(5)
    fn = make_view_probabilities_fn(state.apply_fn, darken, batch_size)
    averaged = np.asarray(fn(state.variables(), images, key, 3))
    plain = jnp.asarray(images / np.float32(255))
    for start in range(0, len(plain), batch_size):
        batch = plain[start : start + batch_size]
        keys = jax.random.split(jax.random.fold_in(key, start), 3)
        views = [batch] + [batch * jax.random.uniform(each) for each in keys]
        expected = np.mean([answer(view) for view in views], axis=0)
        np.testing.assert_allclose(averaged[start : start + batch_size], expected, atol=1e-5)
    other = np.asarray(fn(state.variables(), images, jax.random.key(6), 3))
    assert np.abs(other - averaged).max() > 1e-5
