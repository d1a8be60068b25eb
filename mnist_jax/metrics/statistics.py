"""Statistics over seeds: mean, spread, interval, and whether two configurations differ."""

import bisect
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_POWER = 0.8
_MOST_SEEDS = 1_000_000


@dataclass(frozen=True)
class Summary:
    """Figures of one configuration over seeds, in the unit of the values."""

    n: int  # number of values
    mean: float  # their mean
    # Standard deviation of the sample (n - 1); None for a single value, as is what follows from it.
    sd: float | None
    se: float | None  # standard error of the mean
    min: float  # lowest value
    max: float  # highest value
    low: float | None  # lower end of the interval that holds the true mean with 95% confidence (Student's t)
    high: float | None  # its upper end


def summarize(values: Sequence[float]) -> Summary:
    """Summarizes the values of several seeds.

    Raises:
        ValueError: for no values, or one that is not finite.
    """
    array = np.asarray(values, np.float64)
    if not len(array) or not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers, at least one; got {list(values)}")
    n, low, high = len(array), float(array.min()), float(array.max())
    if n == 1:
        return Summary(n, low, None, None, low, high, None, None)
    # The rounded mean of equal values may differ from them in the last digit, which is no spread.
    mean, sd = (float(array.mean()), float(array.std(ddof=1))) if low < high else (low, 0.0)
    if not sd:
        return Summary(n, mean, 0.0, 0.0, low, high, mean, mean)
    from scipy import stats

    se = sd / math.sqrt(n)
    ends = stats.t.interval(0.95, n - 1, mean, se)
    return Summary(n, mean, sd, se, low, high, float(ends[0]), float(ends[1]))


@dataclass(frozen=True)
class PairedComparison:
    """Two configurations over the same seeds.

    Attributes:
        differences: accuracy (fraction) of the second less that of the first, over the common seeds.
        p_value: of the paired t-test, two-sided: how often chance alone gives a mean difference this large
            where there is none; None where the differences have no spread to compare with: a single common
            seed, or the same difference for each.
        seeds_needed: common seeds with which a true difference of the size seen would be found (p below 5%)
            four times out of five; None where that cannot be said (no spread, or a mean difference of 0).
    """

    differences: Summary
    p_value: float | None
    seeds_needed: int | None

    @property
    def differs(self) -> bool:
        """Whether the difference is more than chance explains, at 5%."""
        return self.p_value is not None and self.p_value < 0.05


def compare_paired(
    first: Mapping[int, int], second: Mapping[int, int], num_examples: int
) -> PairedComparison:
    """Compares two configurations by the seeds they have in common.

    Each is given by the errors of its seeds among ``num_examples``: whole numbers, for even equal differences
    of fractions differ in their last digits, which a test takes for spread.

    Raises:
        ValueError: for no common seed.
    """
    common = sorted(first.keys() & second.keys())
    if not common:
        raise ValueError("the two have no seed in common; expected results of the same seeds")
    differences = summarize([(first[seed] - second[seed]) / num_examples for seed in common])
    if not differences.sd:
        return PairedComparison(differences, None, None)
    from scipy.stats import ttest_rel

    test = ttest_rel([second[seed] for seed in common], [first[seed] for seed in common])
    return PairedComparison(differences, float(test.pvalue), seeds_needed(differences.mean / differences.sd))


def seeds_needed(effect: float) -> int | None:
    """Returns the pairs of runs that a two-sided paired t-test at 5% needs for a power of 80%.

    Args:
        effect: mean difference divided by the standard deviation of the differences.

    Returns:
        the number of pairs, at least 2; None above a million, or for no effect.
    """
    pairs = range(2, _MOST_SEEDS + 1)
    index = bisect.bisect_left(pairs, _POWER, key=functools.partial(_power, abs(effect)))
    return pairs[index] if index < len(pairs) else None


def _power(effect: float, n: int) -> float:
    """Returns the power of the test; the far tail, where chance points the other way, is left out."""
    from scipy import stats

    critical = stats.t.ppf(0.975, n - 1)
    if n > 1000:
        # The noncentral t is slow and imprecise for many degrees of freedom, and normal by then.
        return float(stats.norm.sf(critical - effect * math.sqrt(n)))
    return float(stats.nct.sf(critical, n - 1, effect * math.sqrt(n)))
