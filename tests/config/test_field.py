"""One value: its type, its limits, and the words for what it should have been."""

import math
from fractions import Fraction

import numpy as np
import pytest

from mnist_jax.config.field import LARGEST_FLOAT, LARGEST_INT, Field, short

COUNT = Field("count", 3, "", at_least=1)
RATE = Field("rate", 0.5, "", more_than=0, at_most=1)
SIZES = Field("sizes", (8, 8), "", at_least=1, non_empty=True)


@pytest.mark.parametrize(
    ("field", "value", "converted"),
    [
        (COUNT, 1, 1),
        (COUNT, np.int64(7), 7),
        (COUNT, LARGEST_INT, LARGEST_INT),
        (RATE, 1, 1.0),
        (RATE, np.float32(0.5), 0.5),
        (RATE, Fraction(1, 4), 0.25),
        (SIZES, [4, 5], (4, 5)),
        (Field("flag", True, ""), False, False),
        (Field("order", 1, "", choices=(0, 1)), 0, 0),
        (Field("text", "", ""), "a b", "a b"),
        (Field("step", "best", "", pattern=r"best|\d+"), "12", "12"),
    ],
)
def test_a_fitting_value_gets_the_type_of_the_field(field, value, converted):
    result = field.convert(value)
    assert result == converted
    assert type(result) is field.type


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (COUNT, 0, "expected a whole number of at least 1, got 0"),
        (COUNT, True, "expected a whole number of at least 1, got True"),
        (COUNT, 2.0, "expected a whole number of at least 1, got 2.0"),
        (COUNT, "3", "expected a whole number of at least 1, got '3'"),
        (COUNT, None, "got None"),
        (COUNT, LARGEST_INT + 1, "at least 1 (no larger than 2147483647), got 2147483648"),
        (RATE, 0, "expected a finite number above 0 and at most 1, got 0"),
        (RATE, math.nan, "got nan"),
        (RATE, True, "got True"),
        (Field("rate", 0.5, ""), math.inf, "expected a finite number, got inf"),
        (Field("rate", 0.5, ""), -2 * LARGEST_FLOAT, "expected a finite number (no larger than"),
        (Field("rate", 0.5, ""), 10**400, "expected a finite number (no larger than"),
        (SIZES, (), "expected a tuple of whole numbers of at least 1, such as (8, 8), got ()"),
        (SIZES, (8, 0), "got (8, 0)"),
        (SIZES, (8, True), "got (8, True)"),
        (SIZES, 8, "got 8"),
        (Field("flag", True, ""), 1, "expected True or False, got 1"),
        (Field("order", 1, "", choices=(0, 1)), 2, "expected one of 0, 1, got 2"),
        (Field("order", 1, "", choices=(0, 1)), True, "expected one of 0, 1, got True"),
        (Field("text", "x", "", non_empty=True), "", "expected non-empty text of one line, got ''"),
        (Field("text", "", ""), "a\nb", r"got 'a\nb'"),
        (Field("text", "", ""), "a\0b", r"got 'a\x00b'"),
        (Field("step", "best", "", pattern=r"\d+", pattern_means="a step"), "x", "expected a step, got 'x'"),
    ],
)
def test_another_value_is_refused_in_words(field, value, message):
    with pytest.raises(ValueError) as caught:
        field.convert(value)
    assert message in str(caught.value)


def test_a_message_stays_short_whatever_the_value():
    class Hostile:
        def __repr__(self):
            raise RuntimeError("no")

    assert short("x" * 1000) == "'" + "x" * 56 + "..."
    assert short(np.zeros((3, 3))).count("\n") == 0
    assert short(Hostile()) == "an object of type Hostile"
    assert short(10**5000) == "an object of type int"
