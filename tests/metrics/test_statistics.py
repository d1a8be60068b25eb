"""Mean, spread, interval and the paired comparison, against textbook values and SciPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnist_jax.metrics.statistics import compare_paired, seeds_needed, summarize

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40)


def test_a_hand_computed_sample():
    summary = summarize([1.0, 2.0, 3.0, 4.0])
    assert (summary.n, summary.mean, summary.min, summary.max) == (4, 2.5, 1.0, 4.0)
    assert summary.sd == pytest.approx(math.sqrt(5 / 3))
    assert summary.se == pytest.approx(math.sqrt(5 / 12))
    # 3.182446 is Student's t at 97.5% for three degrees of freedom, from any table.
    assert summary.high - summary.mean == pytest.approx(3.182446 * math.sqrt(5 / 12), rel=1e-6)
    assert summary.mean - summary.low == pytest.approx(summary.high - summary.mean)


def test_a_single_value_has_no_spread():
    summary = summarize([0.99])
    assert (summary.n, summary.mean, summary.min, summary.max) == (1, 0.99, 0.99, 0.99)
    assert (summary.sd, summary.se, summary.low, summary.high) == (None, None, None, None)


def test_equal_values_have_no_spread_to_the_last_digit():
    summary = summarize([0.1] * 10)
    assert (summary.sd, summary.se) == (0.0, 0.0)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_what_is_no_sample_is_refused(values):
    with pytest.raises(ValueError, match="expected finite numbers"):
        summarize(values)


@given(VALUES)
def test_it_agrees_with_numpy_and_scipy(values):
    summary = summarize(values)
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert summary.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    if summary.sd > 1e-6:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (summary.low, summary.high) == pytest.approx((low, high))


def test_the_interval_holds_the_true_mean_19_times_out_of_20():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        summary = summarize(rng.normal(0.996, 0.0003, 5))
        hits += summary.low <= 0.996 <= summary.high
    assert 930 <= hits <= 970


def test_the_comparison_is_paired_by_seed():
    first = {0: 100, 1: 80, 2: 60, 9: 5000}
    second = {2: 49, 0: 90, 1: 68, 7: 9000}
    comparison = compare_paired(first, second, 10_000)
    # By hand: 10, 12 and 11 errors fewer, mean 11, SD 1, t = 11 * sqrt(3); the p of two degrees of freedom.
    differences = comparison.differences
    assert (differences.n, differences.mean) == (3, pytest.approx(0.0011))
    assert differences.sd == pytest.approx(0.0001)
    t = 11 * math.sqrt(3)
    assert comparison.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert comparison.differs


def test_noise_shows_no_difference_and_says_how_many_seeds_would():
    comparison = compare_paired({0: 40, 1: 35, 2: 42, 3: 37}, {0: 36, 1: 40, 2: 39, 3: 38}, 10_000)
    assert not comparison.differs
    assert comparison.seeds_needed > 100


@given(
    errors=st.lists(st.integers(0, 9000), min_size=2, max_size=40),
    difference=st.integers(0, 1000),
    num_examples=st.integers(10_000, 60_000),
)
def test_equal_differences_have_no_spread_and_no_p(errors, difference, num_examples):
    first = dict(enumerate(errors))
    second = {seed: count + difference for seed, count in first.items()}
    comparison = compare_paired(first, second, num_examples)
    assert comparison.differences.mean == pytest.approx(-difference / num_examples)
    assert comparison.differences.sd == 0.0
    assert (comparison.p_value, comparison.seeds_needed, comparison.differs) == (None, None, False)


def test_one_common_seed_tells_nothing():
    comparison = compare_paired({0: 5}, {0: 6}, 10)
    assert (comparison.p_value, comparison.seeds_needed, comparison.differs) == (None, None, False)


def test_no_common_seed_is_refused():
    with pytest.raises(ValueError, match="no seed in common"):
        compare_paired({0: 5}, {1: 5}, 10)


@pytest.mark.parametrize(("effect", "pairs"), [(1.0, 10), (0.5, 34), (0.8, 15), (0.2, 199)])
def test_seeds_needed_as_in_tables_of_power(effect, pairs):
    # Cohen (1988), as G*Power gives them for a two-sided paired t-test at 5% and a power of 80%.
    assert seeds_needed(effect) == seeds_needed(-effect) == pairs


def test_seeds_needed_at_the_ends():
    assert seeds_needed(0.0) is None
    assert seeds_needed(1e-6) is None
    assert seeds_needed(1000.0) == 2


def test_seeds_needed_finds_the_difference_four_times_out_of_five():
    rng = np.random.default_rng(1)
    pairs = seeds_needed(0.9)
    samples = rng.normal(0.9, 1.0, (4000, pairs))
    found = stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05
    assert 0.78 < found.mean() < 0.86
