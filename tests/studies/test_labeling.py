"""Which images keep their labels and what a student learns from."""

import numpy as np
import pytest

from mnist_jax.studies.labeling import (
    Drawn,
    confident,
    draw_labeled,
    least_sure,
    repeat_to,
    student_set,
    supervised_set,
)

LABELS = np.repeat(np.arange(3, dtype=np.int32), 20)


def test_labeled_images_are_balanced_and_depend_on_the_seed_alone():
    drawn = draw_labeled(LABELS, 10, 3, seed=4)
    assert sorted(np.bincount(LABELS[drawn])) == [3, 3, 4]
    assert len(set(drawn)) == 10
    assert (drawn == draw_labeled(LABELS, 10, 3, seed=4)).all()
    assert (drawn != draw_labeled(LABELS, 10, 3, seed=5)).any()


@pytest.mark.parametrize(("number", "problem"), [(2, "at least one of each"), (60, "fewer than the 60")])
def test_numbers_that_cannot_be_drawn_are_refused(number, problem):
    with pytest.raises(ValueError, match=problem):
        draw_labeled(LABELS, number, 3, seed=0)


def test_a_class_with_too_few_images_is_refused():
    with pytest.raises(ValueError, match="class 2 has 5 images; expected at least 10"):
        draw_labeled(LABELS[:45], 30, 3, seed=0)


def test_trust_goes_by_the_highest_probability():
    probabilities = np.array([[0.5, 0.5], [0.04, 0.96], [0.95, 0.05]])
    assert confident(probabilities, 0.95).tolist() == [1, 2]
    assert confident(probabilities, 0.0).tolist() == [0, 1, 2]


def test_the_least_sure_waver_between_two_classes_however_likely_both_are():
    probabilities = np.array([[0.5, 0.1, 0.4], [0.3, 0.36, 0.34], [0.98, 0.01, 0.01], [0.05, 0.5, 0.45]])
    assert least_sure(probabilities, 3).tolist() == [1, 3, 0]
    assert least_sure(probabilities, 0).tolist() == []


def test_a_query_moves_images_with_their_labels_from_the_pool():
    pool = np.arange(100, 110, dtype=np.uint8).reshape(10, 1, 1, 1)
    drawn = Drawn((pool[:2] - 100, np.array([7, 8])), pool, np.arange(10)).query(np.array([4, 1]))
    assert drawn.labeled[0].ravel().tolist() == [0, 1, 104, 101]
    assert drawn.labeled[1].tolist() == [7, 8, 4, 1]
    assert drawn.pool.ravel().tolist() == [100, 102, 103, 105, 106, 107, 108, 109]
    assert drawn.hidden.tolist() == [0, 2, 3, 5, 6, 7, 8, 9]


def test_repeating_takes_each_as_often_as_any_other():
    drawn = repeat_to(np.array([3, 5, 8]), 8, np.random.default_rng(0))
    assert sorted(np.unique(drawn, return_counts=True)[1]) == [2, 3, 3]
    assert len(repeat_to(np.arange(10), 4, np.random.default_rng(0))) == 4


@pytest.fixture
def parts():
    """Labeled images of brightness 0 to 2, a pool of brightness 100 to 109, and a teacher's answers."""
    labeled = (np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1), np.array([0, 1, 2], np.int32))
    pool = np.arange(100, 110, dtype=np.uint8).reshape(10, 1, 1, 1)
    return labeled, pool, np.random.default_rng(0).dirichlet(np.ones(3), 10)


def test_hard_labels_are_the_teachers_choice_beside_the_true_ones(parts):
    labeled, pool, probabilities = parts
    images, labels = student_set(
        labeled,
        pool,
        probabilities,
        np.array([2, 7]),
        num_examples=20,
        labeled_share=0.3,
        soft=False,
        seed=0,
    )
    assert (images.shape, labels.shape, labels.dtype) == ((20, 1, 1, 1), (20,), np.int32)
    brightness = images.ravel().astype(int)
    assert sorted(brightness[brightness < 100]) == [0, 0, 1, 1, 2, 2]
    assert set(brightness[brightness >= 100]) == {102, 107}
    expected = [b if b < 100 else probabilities[b - 100].argmax() for b in brightness]
    assert labels.tolist() == expected


def test_soft_labels_are_the_teachers_probabilities(parts):
    labeled, pool, probabilities = parts
    images, targets = student_set(
        labeled, pool, probabilities, np.arange(10), num_examples=20, labeled_share=0.3, soft=True, seed=0
    )
    assert (targets.shape, targets.dtype) == ((20, 3), np.float32)
    for brightness, target in zip(images.ravel().astype(int), targets, strict=True):
        truth = np.eye(3)[brightness] if brightness < 100 else probabilities[brightness - 100]
        np.testing.assert_allclose(target, truth, rtol=1e-6)


def test_the_supervised_set_is_of_labeled_images_alone(parts):
    images, labels = supervised_set(*parts[0], 9, seed=1)
    assert (images.ravel() == labels).all()
    assert np.bincount(labels).tolist() == [3, 3, 3]
