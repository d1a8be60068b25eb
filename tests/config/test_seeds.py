"""Lists of seeds as they are written."""

import re

import pytest

from mnist_jax.config.seeds import SEEDS_PATTERN, parse_seeds
from mnist_jax.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0:3", (0, 1, 2)),
        ("7", (7,)),
        ("3,5,8", (3, 5, 8)),
        ("5:7,1", (5, 6, 1)),
        ("4294967295", (2**32 - 1,)),
    ],
)
def test_what_is_written_is_read_in_its_order(text, seeds):
    assert re.fullmatch(SEEDS_PATTERN, text)
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("3:3", "names no seed"),
        ("1,0:2", "1 is named twice"),
        ("4294967296", "too large"),
        ("0:4294967295", "more than 10000"),
    ],
)
def test_what_makes_no_sense_is_refused(text, problem):
    with pytest.raises(ConfigError, match=problem):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["", "a", "0:", "1 2", "-1", "0:3,"])
def test_other_texts_do_not_match(text):
    assert not re.fullmatch(SEEDS_PATTERN, text)
    with pytest.raises(ConfigError, match="expected seeds such as 0:30"):
        parse_seeds(text)
