"""Patterns as fields hold them: over the names of a network's variables, with commas, and of files."""

_PATTERN = r"[^\s,=]+"
_FACTOR = r"\d+(\.\d*)?([eE][+-]?\d+)?"
PATTERNS_PATTERN = rf"({_PATTERN}(,{_PATTERN})*)?"
PATTERNS_MEANS = "patterns with commas, such as conv*,dense/bn, or nothing"
SCALES_PATTERN = rf"({_PATTERN}={_FACTOR}(,{_PATTERN}={_FACTOR})*)?"
SCALES_MEANS = "patterns with factors, such as conv*=0.1,head=2, or nothing"


def parse_patterns(text: str) -> tuple[str, ...]:
    """Reads ``conv*,dense/bn`` as its patterns."""
    return tuple(text.split(",")) if text else ()


def parse_scales(text: str) -> dict[str, float]:
    """Reads ``conv*=0.1,head=2`` as factors by pattern, in order."""
    pairs = (part.partition("=") for part in parse_patterns(text))
    return {pattern: float(factor) for pattern, _, factor in pairs}


def is_group_pattern(group: str) -> bool:
    """Whether ``data.group`` is a regular expression for names of files, not a column of a table."""
    return "(" in group
