"""Numbers as people read them."""

import pytest

from mnist_jax.terminal.format import format_duration, format_percent


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (8.44, "8.4 s"),
        (59.96, "1 min 00 s"),
        (85, "1 min 25 s"),
        (3599.6, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


def test_percent_shows_one_example_in_ten_thousand():
    assert format_percent(0.9955) == "99.55%"
    assert format_percent(0.99551, 3) == "99.551%"
    assert format_percent(float("nan")) == "nan%"
