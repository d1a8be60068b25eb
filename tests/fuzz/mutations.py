"""Good files damaged at random, hundreds a second, and read: each is read or refused by one of our errors.

    python -m tests.fuzz.mutations --inputs 100000 --seed 0

That many of each kind. Beyond what `test_fuzz` asks, an input may take ten seconds and a gigabyte at most.
The first that fails is written to a file of the working folder, and ends it with exit code 1.
"""

import argparse
import io
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.config.check import check
from mnist_jax.data.folder import load_folder
from mnist_jax.data.pictures.decode import load_image
from mnist_jax.data.pictures.read import read_pictures
from mnist_jax.errors import MnistJaxError
from mnist_jax.storage.json_files import read_config, read_summary
from mnist_jax.storage.metrics_log import read_metrics
from mnist_jax.storage.votes import read_votes, write_votes
from tests.data.conftest import KEYS, SmallSet, encode_idx
from tests.fuzz.seeds import DEFAULT, LINE, MNIST, NPZ, PICTURES, RUN, SUMMARY, csv_bytes, make_step

SECONDS, BYTES = 10, 2**30

SMALL = SmallSet(3, 2, 5)

# Numbers that sizes, counts and offsets go wrong at, as they stand in files of either order.
_NUMBERS = [0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
_WORDS = [
    *(
        n.to_bytes(size, order)
        for n in _NUMBERS
        for size in (1, 2, 4, 8)
        if n < 256**size
        for order in ("big", "little")
    ),
    *(
        b"nan",
        b"inf",
        b"-1",
        b"1e999",
        b"null",
        b"{}",
        b"[[[[",
        b"\xff\xfe",
        b"\0",
        b"\n",
        b'"',
        b"../",
        b"9" * 30,
    ),
]


class Kind(NamedTuple):
    """A kind of file: good ones, and what reads one of some content in a folder of its own."""

    good: list[bytes]
    read: Callable[[Path, bytes], object]


def damage(good: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Changes, cuts, repeats, inserts or splices one to six times."""
    content = bytearray(good)
    for _ in range(min(chance.getrandbits(2), chance.getrandbits(3)) + 1):
        place, length = chance.randrange(len(content) + 1), chance.randrange(1, 17)
        way = chance.randrange(7)
        if way == 0 and place < len(content):
            content[place] ^= 1 << chance.randrange(8)
        elif way == 1:
            content[place : place + length] = chance.randbytes(length)
        elif way == 2:
            word = chance.choice(_WORDS)
            content[place : place + len(word) * chance.randrange(2)] = word
        elif way == 3:
            del content[place : place + length]
        elif way == 4:
            content[place:place] = content[place : place + length] * chance.randrange(1, 20)
        elif way == 5:
            del content[place:]
        else:
            other = chance.choice(others)
            start = chance.randrange(len(other) + 1)
            content[place : place + length] = other[start : start + length]
    return bytes(content)


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[Path, bytes], object]:
    def write_and_read(folder: Path, content: bytes) -> object:
        (folder / name).write_bytes(content)
        return read(folder)

    return write_and_read


def _read_idx(name: str) -> Callable[[Path, bytes], object]:
    def write_and_read(folder: Path, content: bytes) -> object:
        if not (folder / name).exists():
            SMALL.write(folder, gz=False)
        (folder / name).write_bytes(content)
        return load_folder("mnist", folder)

    return write_and_read


def _read_array_of_npz(folder: Path, content: bytes) -> object:
    """In place of one of the four, with a checksum that is right."""
    with zipfile.ZipFile(folder / "data.npz", "w") as file:
        for number, (key, array) in enumerate(zip(KEYS, SMALL.arrays.values(), strict=True)):
            is_here = number == len(content) % len(KEYS)
            file.writestr(f"{key}.npy", content if is_here else _npy(array))
    return load_folder("mnist", folder)


def _read_settings(folder: Path) -> object:
    config, _ = read_config(folder)
    return check(config)


def _read_step(folder: Path, content: bytes) -> object:
    if not (folder / "7").exists():
        make_step(folder / "7")
    (folder / "7" / "manifest.json").write_bytes(content)
    steps = CheckpointFolder(folder, "accuracy", lambda message: None)
    return list(steps.intact([7])), steps.best_first()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _manifest() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        make_step(Path(folder) / "7")
        return (Path(folder) / "7" / "manifest.json").read_bytes()


def _votes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_votes(Path(folder), np.full((2, 5, 3), 1 / 3, np.float32), "5" * 64)
        return (Path(folder) / "votes.npz").read_bytes()


def _lines(count: int) -> bytes:
    return b"".join(json.dumps({**LINE, "step": step}).encode() + b"\n" for step in range(1, count + 1))


KINDS = {
    **{name: Kind([encode_idx(array)], _read_idx(name)) for name, array in SMALL.arrays.items()},
    "npz": Kind([NPZ], _in_file("data.npz", lambda folder: load_folder("mnist", folder))),
    "arrays of an npz": Kind([_npy(array) for array in SMALL.arrays.values()], _read_array_of_npz),
    "csv": Kind([csv_bytes()], _in_file("train.csv", lambda folder: load_folder("mnist", folder))),
    "pictures": Kind(PICTURES, _in_file("a.png", lambda folder: load_image(folder / "a.png"))),
    "npy": Kind(
        [_npy(np.zeros((3, 6, 5), np.uint8)), _npy(np.ones((6, 5), np.float32))],
        _in_file("a.npy", lambda folder: list(read_pictures([str(folder / "a.npy")], MNIST))),
    ),
    "config.json": Kind(
        [json.dumps({**DEFAULT, "run": RUN}).encode()], _in_file("config.json", _read_settings)
    ),
    "summary.json": Kind([json.dumps(SUMMARY).encode()], _in_file("summary.json", read_summary)),
    "votes.npz": Kind([_votes()], _in_file("votes.npz", read_votes)),
    "metrics.jsonl": Kind([_lines(1), _lines(8)], _in_file("metrics.jsonl", read_metrics)),
    "manifest.json": Kind([_manifest()], _read_step),
}


def try_inputs(kind: str, count: int, seed: int, keep: Path) -> int:
    """Reads ``count`` damaged files of a kind, and returns how many of them were refused.

    Raises:
        AssertionError: one raised something else, or took too long; it is in a file of the folder ``keep``.
    """
    good, read = KINDS[kind]
    chance, refused = random.Random(f"{kind} {seed}"), 0
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").exists() else None))
    try:
        for number in range(count):
            content = damage(chance.choice(good), chance, good)
            signal.alarm(SECONDS)
            try:
                read(folder, content)
            except MnistJaxError as error:
                refused += 1
                assert str(error).strip()
            except BaseException as error:
                path = keep / f"failed-{kind}-{seed}-{number}"
                path.write_bytes(content)
                raise AssertionError(f"{path}: {type(error).__name__}: {error}") from error
            finally:
                signal.alarm(0)
    finally:
        shutil.rmtree(folder)
    return refused


def _ring(number: int, frame: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def main() -> int:
    """Tries all kinds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=sorted(KINDS), action="append")
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, _ring)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    warnings.simplefilter("ignore")
    for kind in arguments.kind or KINDS:
        start = time.perf_counter()
        refused = try_inputs(kind, arguments.inputs, arguments.seed, Path.cwd())
        seconds = time.perf_counter() - start
        print(f"{kind}: {arguments.inputs:,} inputs, {refused:,} refused, {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
