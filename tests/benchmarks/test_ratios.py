"""Statistics of interleaved rounds."""

import pytest

from benchmarks.ratios import best_of, compare_to, round_ratios

SECONDS = {"ours": [1.0, 2.0, 4.0], "torch_a": [2.0, 3.0, 12.0], "torch_b": [9.0, 9.0, 9.0]}


def test_ratios_are_taken_round_by_round():
    assert round_ratios(SECONDS["ours"], SECONDS["torch_a"]) == [2.0, 1.5, 3.0]


def test_the_median_of_ratios_is_not_the_ratio_of_medians():
    compared = compare_to("ours", SECONDS)
    assert compared["torch_a"] == {"ratios": [2.0, 1.5, 3.0], "median": 2.0, "min": 1.5, "max": 3.0}
    assert "ours" not in compared


def test_the_fastest_of_a_family_is_found():
    assert best_of("torch", SECONDS) == "torch_a"
    assert best_of("keras", SECONDS) is None


@pytest.mark.parametrize("other", [[], [1.0], [1.0] * 4])
def test_other_numbers_of_rounds_are_refused(other):
    with pytest.raises(ValueError, match="the same number"):
        round_ratios(SECONDS["ours"] if other else [], other)
