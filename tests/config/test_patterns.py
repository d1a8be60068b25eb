"""Lists of patterns and of factors, as fields write them."""

import re

import pytest

from mnist_jax.config.patterns import PATTERNS_PATTERN, SCALES_PATTERN, parse_patterns, parse_scales


def test_texts_are_read_in_order():
    assert parse_patterns("") == () and parse_scales("") == {}
    assert parse_patterns("conv*,dense/bn") == ("conv*", "dense/bn")
    assert list(parse_scales("head=2,conv[01]=1e-1,*=0.5").items()) == [
        ("head", 2.0),
        ("conv[01]", 0.1),
        ("*", 0.5),
    ]


@pytest.mark.parametrize("text", ["conv*,", ",", "a b", "conv=1", "a,,b"])
def test_what_is_no_list_of_patterns(text):
    assert not re.fullmatch(PATTERNS_PATTERN, text)


@pytest.mark.parametrize("text", ["conv*", "a=", "=1", "a=-1", "a=x", "a=1,b", "a=nan"])
def test_what_is_no_list_of_factors(text):
    assert not re.fullmatch(SCALES_PATTERN, text)
