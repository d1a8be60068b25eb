"""``make mutants``: changes one operator or number after another and counts the changes that tests notice.

Works in a copy of the checkout, with Cosmic Ray's mutations. A file's tests are those of its mirror
(``mnist_jax/metrics/sums.py``: ``tests/metrics/test_sums.py``), or of the folder where there is none.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import TestOutcome, WorkItem

ROOT = Path(__file__).parents[1]
ROOMS = ("mnist_jax/metrics", "mnist_jax/checkpoints", "mnist_jax/training")
# In annotations: `int | None` is no arithmetic.
SKIPPED_OPERATORS = "core/ReplaceBinaryOperator_BitOr_"


def main() -> int:
    """Prints each change that survives and the share of those noticed, by file and in all."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("paths", nargs="*", default=ROOMS, help="files or folders of the package")
    parser.add_argument("--sample", type=int, default=20, help="changes of a file, drawn at random; 0 = all")
    parser.add_argument("--seed", type=int, default=0, help="decides what is drawn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "build", "__pycache__"))
        os.chdir(copy)
        # Bytecode is told from its source by second and size, which a change may leave as they were.
        os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        total = noticed = 0
        for path in list_files(arguments.paths):
            items = draw(path, arguments.sample, arguments.seed)
            command, timeout = test_command(path)
            killed = sum(is_noticed(item, command, timeout) for item in items)
            print(f"{path}: {killed} of {len(items)} noticed", flush=True)
            total, noticed = total + len(items), noticed + killed
    print(f"{noticed} of {total} changes noticed ({noticed / max(total, 1):.0%})")
    return 0


def list_files(paths: list[str]) -> list[Path]:
    """The Python files of the paths, relative to the checkout."""
    found = [file for path in map(Path, paths) for file in ([path] if path.is_file() else path.glob("*.py"))]
    return sorted(file for file in found if file.name != "__init__.py")


def draw(path: Path, sample: int, seed: int) -> list[WorkItem]:
    """Draws changes of a file, in the order of its lines."""
    with use_db(f"{path.stem}.sqlite") as work_db:
        init([path], work_db, {})
        items = [
            item
            for item in work_db.work_items
            if not item.mutations[0].operator_name.startswith(SKIPPED_OPERATORS)
        ]
    items.sort(key=lambda item: (item.mutations[0].start_pos, item.mutations[0].operator_name))
    if sample and sample < len(items):
        items = [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), sample))]
    return items


def test_command(path: Path) -> tuple[str, float]:
    """The tests of a file, and ten times as long as they take, in seconds."""
    mirror = Path("tests", *path.parts[1:-1], f"test_{path.name}")
    tests = mirror if mirror.exists() else mirror.parent
    command = f"{sys.executable} -m pytest -q -x -p no:cacheprovider {tests}"
    started = time.monotonic()
    if os.system(f"{command} > /dev/null"):
        raise SystemExit(f"{tests} fails without any change; expected tests that pass")
    return command, 10 * (time.monotonic() - started)


def is_noticed(item: WorkItem, command: str, timeout: float) -> bool:
    """Applies a change, runs the tests, takes it back; prints it where they pass."""
    result = mutate_and_test(item.mutations, command, timeout)
    if result.test_outcome is TestOutcome.SURVIVED:
        changed = [line for line in (result.diff or "").splitlines() if line[:1] in "+-"][2:]
        print("\n".join([f"survived, line {item.mutations[0].start_pos[0]}:", *changed]), flush=True)
    return result.test_outcome is not TestOutcome.SURVIVED


if __name__ == "__main__":
    sys.exit(main())
