import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.data import Dataset, Splits
from mnist_jax.data.dataset import content_sha256, draw_stratified, interleave_classes
from mnist_jax.errors import DataError

IMAGES = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4, 1)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)


def make(images=IMAGES, labels=LABELS, class_names=("a", "b", "c")) -> Dataset:
    return Dataset.from_arrays(images, labels, name="set", source="here", class_names=class_names)


def test_the_fingerprint_is_the_documented_one():
    expected = hashlib.sha256(
        b"uint8 6 4 4 1\n" + IMAGES.tobytes() + b"int32 6\n" + LABELS.astype("<i4").tobytes()
    ).hexdigest()
    assert make().sha256 == content_sha256(IMAGES, LABELS) == expected


def test_the_fingerprint_does_not_depend_on_layout_or_label_dtype_but_on_shape_and_content():
    transposed = np.asfortranarray(IMAGES)
    assert make(transposed, LABELS.astype(np.uint8)).sha256 == make().sha256
    assert make(IMAGES.reshape(6, 2, 8, 1)).sha256 != make().sha256
    assert make(labels=LABELS[::-1].copy()).sha256 != make().sha256


def test_properties():
    dataset = make()
    assert (dataset.num_examples, dataset.image_shape, dataset.num_classes) == (6, (4, 4, 1), 3)
    assert dataset.labels.dtype == np.int32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES.astype(np.float32)}, "float32"),
        ({"images": IMAGES[..., 0]}, r"uint8 \[6, 4, 4\]; expected uint8 \[N, H, W, C\]"),
        ({"images": np.concatenate([IMAGES] * 2, axis=-1)}, "2 channels; expected 1"),
        ({"images": IMAGES[:5]}, "5 images but 6 labels"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "an empty split"),
        ({"labels": LABELS.astype(np.int64)}, r"int64 \[6\]; expected int32"),
        ({"labels": LABELS + 1}, "label 3 at position 2 is out of range; expected 0 to 2"),
        ({"labels": LABELS - 1}, "label -1 at position 0 is out of range"),
        ({"sha256": "abc"}, "expected 64 hexadecimal digits"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        dataclasses.replace(make(), **changes)


def test_take_gives_the_first_examples():
    taken = make().take(2)
    np.testing.assert_array_equal(taken.images, IMAGES[:2])
    np.testing.assert_array_equal(taken.labels, LABELS[:2])
    assert taken.sha256 == content_sha256(IMAGES[:2], LABELS[:2])
    assert make().take(6).sha256 == make().sha256


@given(st.integers(1, 5))
def test_hold_out_splits_off_the_end(num_examples):
    train, validation = make().hold_out(num_examples, "last")
    assert validation.num_examples == num_examples
    np.testing.assert_array_equal(np.concatenate([train.images, validation.images]), IMAGES)
    np.testing.assert_array_equal(np.concatenate([train.labels, validation.labels]), LABELS)
    assert validation.sha256 == content_sha256(IMAGES[-num_examples:], LABELS[-num_examples:])


@pytest.mark.parametrize("num_examples", [-1, 0, 7])
def test_taking_nothing_or_too_much_is_refused(num_examples):
    with pytest.raises(DataError, match=f"cannot take {num_examples} of 6 examples; expected 1 to 6"):
        make().take(num_examples)


@pytest.mark.parametrize("num_examples", [-1, 0, 6, 7])
def test_holding_out_nothing_or_everything_is_refused(num_examples):
    with pytest.raises(DataError, match=f"cannot hold out {num_examples} of 6 examples; expected 1 to 5"):
        make().hold_out(num_examples, "last")


def test_whole_groups_are_held_out_and_parts_keep_theirs():
    dataset = dataclasses.replace(make(), groups=np.array([7, 7, 8, 8, 9, 9], np.int32))
    train, validation = dataset.hold_out(2, "writers")
    assert len(set(validation.groups)) == 1 and not set(validation.groups) & set(train.groups)
    assert dataset.take(3).groups.tolist() == [7, 7, 8] and train.strata is None
    with pytest.raises(
        DataError, match="no whole groups .* have 3 examples; the nearest is 2; or data.valid"
    ):
        dataset.hold_out(3, "writers")
    with pytest.raises(DataError, match="who wrote what is not known; expected data.validation=classes"):
        make().hold_out(3, "writers")


def test_splits_of_different_sizes_or_classes_are_refused():
    with pytest.raises(DataError, match="train images are 4x4x1 but test images 2x8x1"):
        Splits(make(), make(IMAGES.reshape(6, 2, 8, 1)))
    with pytest.raises(DataError, match="classes"):
        Splits(make(), make(class_names=("a", "b", "d")))


def test_interleaving_spreads_every_class_and_keeps_the_order_within_it():
    labels = np.repeat([0, 1, 2], [8, 4, 4])
    order = interleave_classes(labels)
    assert sorted(order) == list(range(16))
    for start in (0, 4, 8, 12):
        np.testing.assert_array_equal(np.bincount(labels[order[start : start + 4]]), [2, 1, 1])
    for label in range(3):
        assert (np.diff(order[labels[order] == label]) > 0).all()


@given(st.integers(1, 119))
def test_parts_of_sorted_data_are_drawn_over_all_classes(num_examples):
    labels = np.repeat(np.arange(3), [20, 40, 60])
    images = np.arange(120, dtype=np.uint8)[:, None, None, None]
    dataset = dataclasses.replace(make(images, labels), is_drawn=True)
    rest, held_out = dataset.hold_out(num_examples, "classes")
    for part in (held_out, dataset.take(num_examples)):
        assert part.num_examples == num_examples
        counts = np.bincount(part.labels, minlength=3)
        assert (np.abs(counts - num_examples * np.array([1, 2, 3]) / 6) <= 1).all()
    together = np.concatenate([rest.images, held_out.images]).ravel()
    assert sorted(together) == list(range(120))
    assert dataset.hold_out(num_examples, "classes")[1].sha256 == held_out.sha256


def test_a_class_of_one_example_stays_to_be_trained_on():
    labels = np.array([0, 1, 1, 1, 2, 2])
    np.testing.assert_array_equal(labels[draw_stratified(labels, 2)], [1, 2])
