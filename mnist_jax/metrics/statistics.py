"""What figures over seeds tell: mean, spread, interval, and whether two configurations differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_POWER = 0.8
_MOST_SEEDS = 1_000_000


@dataclass(frozen=True)
class Summary:
    """Figures of one configuration over seeds, in the unit of the values.

    Attributes:
        n: number of values.
        mean: their mean.
        sd: standard deviation of the sample (n - 1); None for a single value, as is what follows from it.
        se: standard error of the mean.
        min: lowest value.
        max: highest value.
        low: lower end of the interval that holds the true mean with 95% confidence (Student's t).
        high: its upper end.
    """

    n: int
    mean: float
    sd: float | None
    se: float | None
    min: float
    max: float
    low: float | None
    high: float | None


def summarize(values: Sequence[float]) -> Summary:
    """Sums up the values of several seeds.

    Raises:
        ValueError: for no values, or one that is not finite.
    """
    array = np.asarray(values, np.float64)
    if not len(array) or not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers, at least one; got {list(values)}")
    n, mean = len(array), float(array.mean())
    # Equal values have no spread; their rounded mean may say otherwise in the last digit.
    low, high = float(array.min()), float(array.max())
    if n == 1:
        return Summary(n, mean, None, None, low, high, None, None)
    sd = float(array.std(ddof=1)) if low < high else 0.0
    se = sd / math.sqrt(n)
    reach = float(stats.t.ppf(0.975, n - 1)) * se
    return Summary(n, mean, sd, se, low, high, mean - reach, mean + reach)


@dataclass(frozen=True)
class PairedComparison:
    """Two configurations over the same seeds.

    Attributes:
        differences: second less first, over the common seeds.
        p_value: of the paired t-test, two-sided: how often chance alone gives a mean difference this large
            where there is none; None for fewer than two common seeds.
        seeds_needed: common seeds with which a true difference of the size seen would be found (p below 5%)
            four times out of five; None where that cannot be said (no difference, or fewer than two seeds).
    """

    differences: Summary
    p_value: float | None
    seeds_needed: int | None

    @property
    def differs(self) -> bool:
        """Whether the difference is more than chance explains, at 5%."""
        return self.p_value is not None and self.p_value < 0.05


def compare_paired(first: Mapping[int, float], second: Mapping[int, float]) -> PairedComparison:
    """Compares two configurations by the seeds they have in common.

    Args:
        first: value by seed.
        second: value by seed.

    Raises:
        ValueError: for no common seed.
    """
    common = sorted(first.keys() & second.keys())
    if not common:
        raise ValueError("the two have no seed in common; expected results of the same seeds")
    differences = summarize([second[seed] - first[seed] for seed in common])
    if differences.sd is None:
        return PairedComparison(differences, None, None)
    if differences.sd == 0.0:
        same = differences.mean == 0.0
        return PairedComparison(differences, 1.0 if same else 0.0, None if same else 2)
    t = differences.mean * math.sqrt(differences.n) / differences.sd
    p_value = 2.0 * float(stats.t.sf(abs(t), differences.n - 1))
    return PairedComparison(differences, p_value, seeds_needed(differences.mean / differences.sd))


def seeds_needed(effect: float) -> int | None:
    """Pairs of runs that a two-sided paired t-test at 5% needs for a power of 80%.

    Args:
        effect: mean difference divided by the standard deviation of the differences.

    Returns:
        the number of pairs, at least 2; None above a million, or for no effect.
    """
    effect = abs(effect)
    if effect == 0.0 or _power(effect, _MOST_SEEDS) < _POWER:
        return None
    low, high = 1, _MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, middle) >= _POWER else (middle, high)
    return high


def _power(effect: float, n: int) -> float:
    """Power of the test; the far tail, where chance points the other way, is left out."""
    critical = stats.t.ppf(0.975, n - 1)
    if n > 1000:
        # The noncentral t is slow and imprecise for many degrees of freedom, and normal by then.
        return float(stats.norm.sf(critical - effect * math.sqrt(n)))
    return float(stats.nct.sf(critical, n - 1, effect * math.sqrt(n)))
