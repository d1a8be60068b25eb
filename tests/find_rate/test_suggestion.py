"""What a sweep suggests follows from its rates and losses alone."""

import numpy as np
import pytest

from mnist_jax.find_rate.suggestion import count_used, smooth, suggest

RATES = np.logspace(-6, 1, 200)


def bowl(lowest_at=0.05, diverges=True):
    """Losses that fall to 0.3 at a rate, and rise behind it."""
    distance = np.log10(RATES / lowest_at)
    losses = np.where(distance < 0, np.minimum(0.3 - 0.9 * distance, 2.3), 0.3 + 2 * distance**2)
    return losses if diverges else np.minimum(losses, 0.5)


def test_the_average_starts_at_the_first_loss_and_follows():
    assert smooth(np.full(50, 1.5)) == pytest.approx(np.full(50, 1.5))
    smoothed = smooth(np.r_[np.zeros(100), np.ones(100)])
    assert smoothed[99] == 0 and smoothed[100] == pytest.approx(1 / 8, rel=1e-5) and smoothed[-1] > 0.99


def test_the_rate_halfway_down():
    suggestion = suggest(RATES, bowl())
    # The average lags behind by its memory, a 25th of seven powers of ten.
    lag = 10 ** (2 * 7 / 25)
    assert 0.05 <= suggestion.lowest_at <= 0.05 * lag
    halfway = 0.05 * 10 ** -((2.3 - 0.3) / 2 / 0.9)
    assert halfway <= suggestion.learning_rate <= halfway * lag
    assert suggestion.learning_rate in RATES
    assert len(suggestion.smoothed) == suggestion.num_used < len(RATES)
    assert suggest(RATES, bowl(diverges=False)).num_used == len(RATES)


def test_a_flat_bottom_and_a_lower_start_hardly_move_it():
    losses = bowl()
    expected = suggest(RATES, losses).learning_rate
    flat, risen = losses.copy(), losses.copy()
    flat[(RATES > 0.05) & (RATES < 1)] = 0.3
    risen[:20] = 2.0
    assert suggest(RATES, risen).learning_rate == pytest.approx(expected, rel=0.1)
    assert suggest(RATES, flat).lowest_at > 2 * suggest(RATES, losses).lowest_at
    # Two of the 200 rates; where the loss is lowest moves by more than nine.
    assert suggest(RATES, flat).learning_rate == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("after", [np.nan, np.inf, 1e6])
def test_what_comes_after_divergence_counts_for_nothing(after):
    losses = bowl(diverges=False)
    losses[150:] = after
    assert count_used(losses) == 150
    other = losses.copy()
    other[151:] = 0.0
    assert suggest(RATES, other).learning_rate == suggest(RATES, losses).learning_rate


def test_a_loss_that_never_fell_suggests_nothing():
    with pytest.raises(ValueError, match="the loss never fell"):
        suggest(RATES, np.linspace(1, 2, 200))
    with pytest.raises(ValueError, match="the loss never fell"):
        suggest(RATES, np.full(200, np.nan))
