"""McNemar's exact test and Holm's adjustment, against SciPy and by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mnist_jax.metrics.mcnemar import holm, mcnemar_exact


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (9, 2), (2, 9), (33, 76), (5, 5), (1, 0)])
def test_it_is_the_binomial_test_of_the_images_that_one_alone_has_right(only_first, only_second):
    both, neither = 40, 3
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    found = mcnemar_exact(first, second)
    assert (found.only_first, found.only_second) == (only_first, only_second)
    total = only_first + only_second
    expected = binomtest(only_first, total).pvalue if total else 1.0
    assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == [] and holm([0.02]) == [0.02]
