"""Results as small JSON files, and the flags that say where they go."""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from mnist_jax.cli import Flag
from mnist_jax.errors import ConfigError
from mnist_jax.storage.json_files import write_json_atomic

RESULTS_DIR = Path(__file__).parent / "results"

JSON_FILE = Flag("json", "", "also write the result to this JSON file", non_empty=True, metavar="FILE")
PLOT_FILE = Flag("plot", "", "also draw the result into this PNG or SVG file", non_empty=True, metavar="FILE")
KEEP = Flag(
    "keep",
    False,
    "also keep the result in benchmarks/results/, named by date, device, benchmark and configuration",
)
# With what comes behind its last bracket, for a folder's name may have brackets of its own.
_DATA_FOLDER = re.compile(
    r"^(?:cache .* of )?(image folder|folder|tables)(?: in)? (?!\().*?( \([^()]*\)[^()]*)?$"
)
OUTPUT_FLAGS = (JSON_FILE, PLOT_FILE, KEEP)


def make_result(
    benchmark: str, device: str, settings: dict[str, Any], figures: dict[str, Any], versions: dict[str, Any]
) -> dict[str, Any]:
    """Puts together what a result file holds.

    Args:
        benchmark: its module's name.
        device: in one line.
        settings: what was asked for.
        figures: what was measured.
        versions: of what was used.
    """
    return {
        "benchmark": benchmark,
        "device": device,
        "command": " ".join(["python", "-m", f"benchmarks.{benchmark}", *sys.argv[1:]]),
        "machine": describe_machine(),
        "versions": versions,
        "settings": settings,
        **figures,
    }


def write_result(result: dict[str, Any], json_file: str, keep: bool) -> None:
    """Writes a result where the flags say.

    Raises:
        RunError: a file cannot be written.
    """
    if json_file:
        write_json_atomic(json_file, result)
    if keep:
        path = RESULTS_DIR / result_name(result)
        path.parent.mkdir(exist_ok=True)
        write_json_atomic(path, without_data_folder(result))
        print(f"kept as {path}")


def without_data_folder(content: Any) -> Any:
    """Leaves out where the data lay, anywhere in a result: each ``dataset`` with its ``source``.

    ``folder /home/ann/mnist (IDX), SHA-256 as published`` becomes ``folder (IDX), SHA-256 as published``.
    """
    if isinstance(content, list):
        return [without_data_folder(item) for item in content]
    if not isinstance(content, dict):
        return content
    content = {name: without_data_folder(item) for name, item in content.items()}
    dataset = content.get("dataset")
    if isinstance(dataset, dict) and "source" in dataset:
        source = _DATA_FOLDER.sub(r"\1\2", dataset["source"])
        content["dataset"] = {**dataset, "source": source}
    return content


def result_name(result: dict[str, Any]) -> str:
    """Names a result by date, device, benchmark, configuration and, where not the article's, the work."""
    device = re.sub(r"[^a-z0-9]+", "-", result["device"].lower()).strip("-")
    config_file = result["settings"].get("config_file")
    config = f"-{Path(config_file).stem}" if config_file else ""
    work = "" if is_article_work(result["settings"]) else f"-{describe_work(result['settings'], '-')}"
    return f"{result['machine']['date'][:10]}-{device}-{result['benchmark']}{config}{work}.json"


def describe_work(settings: Mapping[str, Any], separator: str = ", ") -> str:
    """Says what is trained: ``article, 28x28x1, batch 64``, which results without these are of."""
    shape = "x".join(map(str, settings.get("image_shape", (28, 28, 1))))
    batch = f"batch{' ' if ' ' in separator else ''}{settings.get('batch_size', 64)}"
    return separator.join((settings.get("network", "article"), shape, batch))


def is_article_work(settings: Mapping[str, Any]) -> bool:
    """Whether a result is of what is compared by default."""
    return "network" not in settings or describe_work(settings) == describe_work({})


def commit_of(result: dict[str, Any]) -> str:
    """Shortens the commit a result was measured on, see `short_commit`."""
    return short_commit(result["machine"]["git_commit"], 12)


def short_commit(commit: str | None, digits: int) -> str:
    """Shortens a commit; ``-dirty`` behind it says that files were changed."""
    head, separator, changed = (commit or "unknown").partition("-")
    return f"{head[:digits]}{separator}{changed}"


def choose(only: str, known: Iterable[str], what: str) -> list[str]:
    """Reads the names of ``--only``, each once; all that are known where it is empty.

    Args:
        only: names, with commas between them.
        known: all there are.
        what: each is, for the message.

    Raises:
        ConfigError: for a name that is not known.
    """
    everything = list(known)
    names = [name.strip() for name in only.split(",") if name.strip()] or everything
    unknown = [name for name in names if name not in everything]
    if unknown:
        expected = ", ".join(everything)
        raise ConfigError([f"--only: there is no {what} {name!r}; expected {expected}" for name in unknown])
    return list(dict.fromkeys(names))


def read_results(folder: Path = RESULTS_DIR) -> list[dict[str, Any]]:
    """Reads all results that are kept, oldest first."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return sorted(results, key=lambda result: result["machine"]["date"])


def with_default_config(words: list[str], config_file: str) -> list[str]:
    """Adds ``--config`` to the words of a command line that has none."""
    given = any(word.lstrip("-").partition("=")[0] == "config" for word in words if word.startswith("-"))
    return words if given else ["--config", config_file, *words]
