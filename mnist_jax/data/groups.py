"""Which examples of a person's own data are of one origin, such as a writer: ``data.group``."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_jax.config.patterns import is_group_pattern
from mnist_jax.errors import DataError


def groups_of(group: str, items: Sequence[str], rows: Sequence[Mapping[str, Any]], where: str) -> list[str]:
    r"""Returns the name of each picture's group.

    Args:
        group: the name of a column, or a regular expression with one group in parentheses that is looked for
            in each picture's name, such as ``writer(\d+)``.
        items: what each picture is called, its path below ``where``.
        rows: the rows of the table that tells of the pictures, one each; none where there is no table.
        where: the folder or file, for messages.

    Raises:
        DataError: there is no such column, a name does not match, or all are of one group.
    """
    if is_group_pattern(group):
        matches = [re.search(group, item) for item in items]
        missing = next((item for item, match in zip(items, matches, strict=True) if not match), None)
        if missing is not None:
            raise DataError(
                f"{where}, {missing}: data.group={group!r} does not match its name; expected every picture's "
                "name to match"
            )
        found = [match[1] or "" for match in matches if match]
    elif not rows:
        raise DataError(
            f"{where}: data.group={group!r} is a column, but there is no table; expected a regular "
            r"expression with one group in parentheses for the names of the pictures, such as '(\w+)_'"
        )
    elif group not in rows[0]:
        raise no_column(group, list(rows[0]), where)
    elif any(row.get(group) in (None, "") for row in rows):
        raise DataError(f"{where}: a row has no value in the column {group!r} (data.group); expected all to")
    else:
        found = [str(row[group]) for row in rows]
    check_groups(found, group, where)
    return found


def no_column(group: str, known: Sequence[str], where: str) -> DataError:
    """What to raise where there is no such column."""
    shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "") or "its heading"
    return DataError(f"{where}: there is no column {group!r} (data.group); expected one of {shown}")


def check_groups(groups: Sequence[str], group: str, where: str) -> None:
    """Makes sure that there are several groups.

    Raises:
        DataError: all are of one.
    """
    if len(set(groups)) < 2:
        raise DataError(f"{where}: data.group={group!r} puts all into one group; expected several")
