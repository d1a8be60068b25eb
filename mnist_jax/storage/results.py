"""``results.jsonl`` of a study, an ensemble or pseudo labels: a line for each finished member."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_jax.errors import RunError
from mnist_jax.runtime.regular_file import MAX_JSON_BYTES, read_regular
from mnist_jax.storage.field_types import wrong_result_field
from mnist_jax.storage.json_files import plain_json, replace_file

# One line a finished member, never a part of one.
RESULTS_FILE = "results.jsonl"


def read_results(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the lines of a results file, or of the one in a folder; none where the file does not exist.

    Raises:
        RunError: it cannot be read, or a line is no JSON object with a ``seed``.
    """
    path = results_path(path)
    try:
        lines = read_regular(path, MAX_JSON_BYTES).decode("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}; expected a file of results") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record["seed"], int):
                raise ValueError
        except (ValueError, KeyError, RecursionError) as error:
            raise RunError(
                f"{path}, line {number}: expected a JSON object with a seed; got {line[:80]!r}"
            ) from error
        if wrong := wrong_result_field(record):
            raise RunError(f"{path}, line {number}: {wrong} is not what is written there")
        records.append(record)
    return records


def results_path(path: str | os.PathLike[str]) -> Path:
    """The results file that a folder or the path of a file stands for."""
    path = Path(path)
    return path / RESULTS_FILE if path.is_dir() or path.suffix != ".jsonl" else path


def append_results(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Adds lines to the results of a folder: all of them or, where the process is killed, none.

    Members trained together are finished together. Were only some of them kept, the rest would go into
    another group next time, and round differently.

    Raises:
        RunError: the disk is full or the folder cannot be written; the file is as it was.
    """
    path = folder / RESULTS_FILE
    before = path.read_bytes() if path.exists() else b""
    lines = "".join(json.dumps(plain_json(record), allow_nan=False) + "\n" for record in records)
    replace_file(path.absolute(), before + lines.encode())
