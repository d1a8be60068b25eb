"""Schedules equal their formulas."""

import jax
import numpy as np
import pytest

from mnist_jax.training.learning_rate import create_learning_rate_fn

PEAK, TOTAL = 4e-3, 200
STEPS = np.arange(TOTAL + 1)


def rates(schedule, **options):
    learning_rate_fn = create_learning_rate_fn(schedule, PEAK, TOTAL, **options)
    return np.broadcast_to(jax.vmap(learning_rate_fn)(STEPS), STEPS.shape)


def half_cosine(start, end, share):
    """From start to end while share goes from 0 to 1, then end."""
    return end + (start - end) * (1 + np.cos(np.pi * np.clip(share, 0, 1))) / 2


def assert_rates(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 * PEAK)


def test_constant_stays():
    assert_rates(rates("constant"), PEAK)


def test_constant_with_warm_up_rises_in_a_line():
    assert_rates(rates("constant", warmup_steps=50), PEAK * np.minimum(STEPS / 50, 1))


@pytest.mark.parametrize("end_fraction", [0.0, 0.1])
def test_cosine(end_fraction):
    actual = rates("cosine", end_fraction=end_fraction)
    assert_rates(actual, half_cosine(PEAK, PEAK * end_fraction, STEPS / TOTAL))
    assert_rates(actual[[0, -1]], [PEAK, PEAK * end_fraction])


@pytest.mark.parametrize("end_fraction", [0.0, 0.1])
def test_cosine_with_warm_up(end_fraction):
    actual = rates("cosine", warmup_steps=40, end_fraction=end_fraction)
    down = half_cosine(PEAK, PEAK * end_fraction, (STEPS - 40) / (TOTAL - 40))
    assert_rates(actual, np.where(STEPS < 40, PEAK * STEPS / 40, down))


@pytest.mark.parametrize(
    ("options", "rise", "end"),
    [({}, 60, 0.0), ({"warmup_steps": 25}, 25, 0.0), ({"warmup_steps": 199, "end_fraction": 0.5}, 199, 0.5)],
)
def test_one_cycle(options, rise, end):
    actual = rates("one_cycle", **options)
    up = half_cosine(PEAK / 25, PEAK, STEPS / rise)
    down = half_cosine(PEAK, PEAK * end, (STEPS - rise) / (TOTAL - rise))
    assert_rates(actual, np.where(rise > STEPS, up, down))
    assert actual.argmax() == rise
    assert_rates(actual[[0, rise, -1]], [PEAK / 25, PEAK, PEAK * end])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("total_steps", [1, 2, 3])
def test_the_shortest_runs_have_a_finite_positive_first_rate(schedule, total_steps):
    first = create_learning_rate_fn(schedule, PEAK, total_steps)(0)
    assert 0 < first <= PEAK * (1 + 1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("warmup_steps", [-1, TOTAL, TOTAL + 1])
def test_a_warm_up_that_does_not_fit_is_refused(schedule, warmup_steps):
    with pytest.raises(ValueError, match=f"warm-up of {warmup_steps} steps does not fit into a run of 200"):
        create_learning_rate_fn(schedule, PEAK, TOTAL, warmup_steps=warmup_steps)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(
        ValueError, match="'linear' is not known; expected one of constant, cosine, one_cycle"
    ):
        create_learning_rate_fn("linear", PEAK, TOTAL)
