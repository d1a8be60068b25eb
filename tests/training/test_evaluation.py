"""Every example counts once whatever the batch size, padding never does, on one device or on eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.runtime.devices import make_layout
from mnist_jax.training.evaluation import EvaluationResult, Evaluator, images_at_a_time

NUM_CLASSES = 4
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (23, 3, 2, 1)).astype(np.uint8)
LABELS = RNG.integers(0, NUM_CLASSES - 1, 23).astype(np.int32)  # the last class has no example
VARIABLES = {"params": RNG.normal(size=(6, NUM_CLASSES)).astype(np.float32)}


def test_a_result_reads_true_classes_in_rows():
    confusion = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]])
    assert EvaluationResult.from_sums(7.0, confusion) == EvaluationResult(
        loss=0.5,
        accuracy=1 - 3 / 14,
        errors=3,
        num_examples=14,
        per_class_accuracy=[0.8, None, 0.75],
        confusion_matrix=confusion.tolist(),
    )


def apply_fn(variables, images, train):
    """A network of one layer, quickly compiled."""
    assert not train
    return images.reshape(images.shape[0], -1) @ variables["params"]


def reference(logits, labels, num_classes=NUM_CLASSES):
    """A plain loop over the examples, in float64."""
    loss, confusion = 0.0, np.zeros((num_classes, num_classes), int)
    for row, label in zip(np.asarray(logits, np.float64), labels, strict=True):
        loss += np.log(np.exp(row).sum()) - row[label]
        confusion[label, row.argmax()] += 1
    return loss / len(labels), confusion


def assert_is(result, loss, confusion):
    num_examples, errors = confusion.sum(), confusion.sum() - np.trace(confusion)
    assert result.confusion_matrix == confusion.tolist()
    assert (result.num_examples, result.errors) == (num_examples, errors)
    assert result.accuracy == 1 - errors / num_examples
    assert result.loss == pytest.approx(loss, rel=1e-5)
    for label, share in enumerate(result.per_class_accuracy):
        total = confusion[label].sum()
        assert share == (confusion[label, label] / total if total else None)


@settings(max_examples=15, derandomize=True)
@given(num_examples=st.integers(1, 23), batch_size=st.integers(1, 40))
def test_equals_a_plain_loop(num_examples, batch_size):
    images, labels = IMAGES[:num_examples], LABELS[:num_examples]
    evaluator = Evaluator(apply_fn, batch_size=batch_size, num_classes=NUM_CLASSES)
    logits = images.reshape(num_examples, -1) / 255.0 @ VARIABLES["params"]
    result = evaluator(VARIABLES, images, labels)
    assert_is(result, *reference(logits, labels))
    np.testing.assert_array_equal(result.predicted, logits.argmax(axis=1))


@pytest.mark.parametrize("batch_size", [1, 7, 8, 20, 100])
def test_eight_devices_equal_one(batch_size):
    layout = make_layout()
    assert layout.num_devices == 8
    one = Evaluator(apply_fn, batch_size=batch_size, num_classes=NUM_CLASSES)(VARIABLES, IMAGES, LABELS)
    sharded = Evaluator(
        apply_fn, batch_size=batch_size, num_classes=NUM_CLASSES, batch_sharding=layout.batch
    )(*jax.device_put((VARIABLES, IMAGES, LABELS), layout.replicated))
    assert sharded.confusion_matrix == one.confusion_matrix
    assert sharded.num_examples == 23
    np.testing.assert_array_equal(sharded.predicted, one.predicted)
    assert sharded.loss == pytest.approx(one.loss, rel=1e-6)


def test_the_network_itself_with_floating_point_images(tiny_model, make_tiny_state, tiny_data):
    images, labels = tiny_data
    variables = make_tiny_state().variables()
    evaluator = Evaluator(tiny_model.apply, batch_size=32, num_classes=3)
    logits = jax.jit(tiny_model.apply)(variables, jnp.asarray(images / 255.0, jnp.float32))
    expected = reference(logits, labels, num_classes=3)
    assert_is(evaluator(variables, images, labels), *expected)
    assert_is(evaluator(variables, (images / 255.0).astype(np.float32), labels), *expected)


def test_a_pass_is_compiled_once_a_shape():
    evaluator = Evaluator(apply_fn, batch_size=10, num_classes=NUM_CLASSES)
    assert evaluator.function.compile_seconds == 0
    first = evaluator(VARIABLES, IMAGES, LABELS)
    spent = evaluator.function.compile_seconds
    assert spent > 0
    assert evaluator(VARIABLES, IMAGES, LABELS) == first
    assert evaluator.function.compile_seconds == spent
    evaluator(VARIABLES, IMAGES[:5], LABELS[:5])
    assert evaluator.function.compile_seconds > spent


def test_the_result_is_a_plain_value():
    result = Evaluator(apply_fn, batch_size=10, num_classes=NUM_CLASSES)(VARIABLES, IMAGES, LABELS)
    assert isinstance(result, EvaluationResult)
    assert [type(value) for value in (result.loss, result.accuracy, result.errors)] == [float, float, int]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"batch size is {batch_size}; expected at least 1"):
        Evaluator(apply_fn, batch_size=batch_size, num_classes=NUM_CLASSES)


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="the data set is empty"):
        Evaluator(apply_fn, batch_size=4, num_classes=NUM_CLASSES)(VARIABLES, IMAGES[:0], LABELS[:0])


def test_a_batch_is_never_larger_than_the_data(tiny_model, make_tiny_state, tiny_data):
    images, labels = tiny_data
    seen = []

    def apply_fn(variables, batch, train):
        seen.append(batch.shape[0])
        return tiny_model.apply(variables, batch, train=train)

    evaluate = Evaluator(apply_fn, batch_size=1000, num_classes=3)
    result = evaluate(make_tiny_state().eval_variables(), images[:6], labels[:6])
    assert result.num_examples == 6
    assert set(seen) == {6}


def test_a_batch_has_fewer_examples_where_they_are_larger():
    seen = []

    def mean(variables, batch, train):
        seen.append(batch.shape)
        return batch.mean(axis=(1, 2))

    images = np.zeros((40, 56, 42, 3), np.uint8)
    result = Evaluator(mean, batch_size=30, num_classes=3)({}, images, np.zeros(40, np.int32))
    assert result.num_examples == 40
    assert set(seen) == {(10, 56, 42, 3)}


def test_a_cpu_computes_what_fits_its_caches_and_others_all_they_may(monkeypatch):
    assert images_at_a_time(1000, (500, 28, 28, 1)) == 64
    assert images_at_a_time(1000, (5000, 28, 28, 1), num_shards=8) == 8 * 64
    assert images_at_a_time(7, (500, 28, 28, 1)) == 7
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert images_at_a_time(1000, (5000, 28, 28, 1)) == 1000
    assert images_at_a_time(1000, (5000, 56, 28, 1), num_shards=8) == 504
