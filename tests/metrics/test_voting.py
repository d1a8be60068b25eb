"""Votes, agreement, calibration, and the vote as one network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.metrics.voting import (
    accuracy_by_size,
    describe_probabilities,
    describe_vote,
    disagreement,
    majority_vote,
    soft_vote,
)
from mnist_jax.models.cnn import CNN
from mnist_jax.models.soft_vote import join_variables, make_soft_vote

# Three members, four examples, three classes.
VOTES = np.array(
    [
        [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]],
        [[0.4, 0.6, 0.0], [0.3, 0.7, 0.0], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3]],
        [[0.4, 0.6, 0.0], [0.6, 0.4, 0.0], [0.1, 0.0, 0.9], [0.1, 0.2, 0.7]],
    ]
)
LABELS = np.array([0, 1, 2, 2], np.int32)


def test_soft_and_majority_vote_can_differ():
    np.testing.assert_allclose(soft_vote(VOTES)[0], [1.7 / 3, 1.3 / 3, 0.0])
    assert soft_vote(VOTES).argmax(axis=1).tolist() == [0, 1, 2, 2]
    # Two of three members say 1 for the first; the last is a tie of three, decided by the mean.
    assert majority_vote(VOTES).tolist() == [1, 1, 2, 2]


@given(
    st.integers(1, 7).flatmap(
        lambda members: st.lists(
            st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(any),
            min_size=members,
            max_size=members,
        )
    )
)
def test_the_majority_counts_votes_first_and_means_only_among_equals(counts):
    weights = np.array(counts, np.float64)[:, None]
    probabilities = weights / weights.sum(axis=2, keepdims=True)
    votes = np.bincount(probabilities.argmax(axis=2)[:, 0], minlength=4)
    mean = probabilities.mean(axis=0)[0]
    chosen = majority_vote(probabilities)[0]
    assert votes[chosen] == votes.max()
    assert mean[chosen] == mean[votes == votes.max()].max()


def test_a_vote_outweighs_any_mean_probability():
    # Two votes for class 0 and two for each of ten others; one is sure of class 1, everyone's second choice.
    choices = np.repeat([0, *range(2, 12)], 2)
    probabilities = 0.51 * np.eye(12)[choices] + 0.49 * np.eye(12)[1]
    probabilities = np.concatenate([probabilities, np.eye(12)[[1]]])[:, None]
    assert soft_vote(probabilities).argmax() == 1
    assert majority_vote(probabilities).tolist() == [0]


def test_disagreement_is_that_of_two_members_drawn_at_random():
    # Pairs: 1 and 2 differ in three of four, 1 and 3 in three, 2 and 3 in three.
    assert disagreement(VOTES) == pytest.approx(0.75)
    assert disagreement(VOTES[:1]) == 0.0
    assert disagreement(np.stack([VOTES[0]] * 4)) == 0.0


def test_each_size_is_a_mean_over_disjoint_groups():
    rows = accuracy_by_size(np.concatenate([VOTES, VOTES[:1]]), LABELS)
    assert [(row["size"], row["groups"]) for row in rows] == [(1, 4), (2, 2), (3, 1), (4, 1)]
    assert rows[0]["accuracy"] == pytest.approx((0.75 + 0.25 + 0.5 + 0.75) / 4)
    assert rows[2]["accuracy"] == 1.0


def test_the_description_of_a_vote_adds_up():
    vote = describe_vote(VOTES, LABELS)
    assert (vote["soft_vote"]["errors"], vote["majority_vote"]["errors"]) == (0, 1)
    assert [member["errors"] for member in vote["members"]] == [1, 3, 2]
    assert vote["gain"] == pytest.approx(1.0 - (0.75 + 0.25 + 0.5) / 3)


def test_calibration_and_likelihood_of_hand_computed_probabilities():
    figures = describe_probabilities(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1], np.int32))
    assert figures["accuracy"] == 0.5
    assert figures["calibration_error"] == pytest.approx(0.3)
    assert figures["loss"] == pytest.approx(-(np.log(0.8) + np.log(0.2)) / 2)
    # A class that was held to be impossible is wrong beyond measure, yet a number JSON can hold.
    assert np.isfinite(describe_probabilities(np.array([[1.0, 0.0]]), np.array([1], np.int32))["loss"])


def test_the_vote_as_a_network_is_the_mean_of_its_members():
    small = CNN(num_classes=3, features=(2, 3), pool_after=(0,), dense_features=4, conv="gemm")
    modules = (small, small, small.clone(dense_features=5))
    images = jax.random.uniform(jax.random.key(9), (4, 8, 8, 1))
    variables = [module.init(jax.random.key(i), images) for i, module in enumerate(modules)]
    vote = make_soft_vote(modules)
    logits = vote.apply(join_variables(variables), images, train=False)
    members = [jax.nn.softmax(m.apply(v, images)) for m, v in zip(modules, variables, strict=True)]
    np.testing.assert_allclose(jax.nn.softmax(logits), jnp.stack(members).mean(axis=0), atol=1e-6)
    # The same structure as an initialization of its own: a module like any other.
    own = jax.eval_shape(vote.init, jax.random.key(0), images)
    assert jax.tree.structure(own) == jax.tree.structure(join_variables(variables))
    assert hash(vote) == hash(make_soft_vote(modules))
