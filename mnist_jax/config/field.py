"""One named value with a type, a meaning and limits: a row of the schema or a flag of a command."""

import difflib
import math
import numbers
import re
from dataclasses import dataclass
from typing import Any

Value = bool | int | float | str | tuple[int, ...] | dict[str, Any]

# Steps, sizes and counts are int32 on the device; learning rates and the like are float32.
LARGEST_INT = 2**31 - 1
LARGEST_FLOAT = 3.4028234663852886e38


@dataclass(frozen=True)
class Field:
    """One named value: its type is that of its default, its other attributes say which values make sense."""

    name: str  # dotted name, as in ``--config.NAME=VALUE``
    default: Value  # used where nothing else is said
    description: str  # one line, with the unit where there is one
    at_least: float | None = None  # smallest value, itself allowed (for a tuple: of each item)
    more_than: float | None = None  # as `at_least`, itself not allowed
    at_most: float | None = None  # largest value, itself allowed
    less_than: float | None = None  # as `at_most`, itself not allowed
    choices: tuple[
        Value, ...
    ] = ()  # all the values there are, beside those of `pattern`; empty where the bounds decide
    non_empty: bool = False  # whether an empty text or tuple is refused
    pattern: str = ""  # regular expression that a whole text has to match; empty for any text
    pattern_means: str = ""  # the pattern in words

    @property
    def type(self) -> type:
        """The Python type of the value: bool, int, float, str, tuple (of ints) or dict (of what JSON has)."""
        return type(self.default)

    def convert(self, value: object) -> Value:
        """Brings a value to the field's type (a whole number to a float, a list to a tuple) and checks it.

        Raises:
            ValueError: for another type, or a value the field does not allow; says what was expected.
        """
        try:
            converted = self._to_type(value)
            fits = self._allows(converted)
        except (TypeError, ValueError, OverflowError):
            fits = False
        if not fits:
            expected = f"{self.expected()}{self._size_limit(value)}"
            raise ValueError(f"expected {expected}, got {short(value)}{self._nearest(value)}")
        return converted

    def expected(self) -> str:
        """What a value has to be, in words: ``a finite number above 0``."""
        choices = "one of " + ", ".join(short(choice) for choice in self.choices) if self.choices else ""
        if choices or self.pattern_means:
            return " or ".join(text for text in (choices, self.pattern_means) if text)
        if self.type is bool:
            return "True or False"
        if self.type is str:
            return f"{'non-empty ' if self.non_empty else ''}text of one line"
        if self.type is dict:
            return "names with values, such as {'width': 32}"
        noun = {int: "a whole number", float: "a finite number", tuple: "whole numbers"}[self.type]
        bounds = self.bounds()
        words = f"{noun} of {bounds}" if bounds.startswith("at ") else f"{noun} {bounds}".rstrip()
        return f"a tuple of {words}, such as {self.default}" if self.type is tuple else words

    def bounds(self) -> str:
        """The limits of a number in words, ``at least 0 and below 1``; empty where there are none."""
        limits = {
            "at least": self.at_least,
            "above": self.more_than,
            "at most": self.at_most,
            "below": self.less_than,
        }
        return " and ".join(f"{word} {limit:.10g}" for word, limit in limits.items() if limit is not None)

    def _to_type(self, value: object) -> Value:
        if self.type is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
            return float(value)
        if self.type is int:
            return _to_int(value)
        if self.type is tuple and isinstance(value, (tuple, list)):
            return tuple(_to_int(item) for item in value)
        if self.type is dict:
            return _to_dict(value)
        if self.type in (bool, str) and type(value) is self.type:
            return value
        raise TypeError

    def _allows(self, value: Value) -> bool:
        if self.choices and (value in self.choices or not self.pattern):
            return value in self.choices
        if isinstance(value, str):
            # A NUL or a line break belongs in no path, name or address, and tears a message apart.
            if any(ord(character) < 32 for character in value) or (self.non_empty and not value):
                return False
            return re.fullmatch(self.pattern or ".*", value) is not None
        if isinstance(value, bool | dict):
            return True
        if isinstance(value, tuple):
            return bool(value or not self.non_empty) and all(self._in_bounds(item) for item in value)
        return self._in_bounds(value)

    def _size_limit(self, value: object) -> str:
        # Said only where it is the reason: in every other message a limit of 2147483647 epochs is noise.
        if self.at_most is not None or not isinstance(value, (int, float)) or abs(value) == math.inf:
            return ""
        limit = {int: LARGEST_INT, float: LARGEST_FLOAT}.get(self.type, math.inf)
        return f" (no larger than {limit:.10g})" if abs(value) > limit else ""

    def _nearest(self, value: object) -> str:
        names = [choice for choice in self.choices if isinstance(choice, str) and choice]
        near = difflib.get_close_matches(str(value), names, n=1) if isinstance(value, str) else []
        return f"; did you mean {near[0]!r}?" if near else ""

    def _in_bounds(self, value: float) -> bool:
        if isinstance(value, float):
            if not math.isfinite(value) or abs(value) > LARGEST_FLOAT:
                return False
        elif abs(value) > LARGEST_INT and self.at_most is None:
            return False
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.more_than is None or value > self.more_than)
            and (self.at_most is None or value <= self.at_most)
            and (self.less_than is None or value < self.less_than)
        )


def _to_int(value: object) -> int:
    # A bool is an int to Python, but `batch_size=True` is a slip.
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError
    return int(value)


def _to_dict(value: Any) -> dict[str, Any]:
    """A mapping, or a ConfigDict, which is none, with the values that JSON gives back as they were."""
    items = dict(value.items()) if hasattr(value, "items") else None
    if items is None or not all(isinstance(key, str) and key.isidentifier() for key in items):
        raise TypeError
    return {key: _to_json(item) for key, item in items.items()}


def _to_json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
        return value
    return _to_dict(value)


def short(value: object, limit: int = 60) -> str:
    """A value as it is shown in a message: one line, no longer than `limit` characters, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        # An object of a person's own may fail at its own repr(), and a message must not.
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
