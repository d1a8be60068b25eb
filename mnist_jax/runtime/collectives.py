"""What the processes of a run have to agree on, for all of them must make the same calls.

In a single process every function here is what it wraps, without a call to the device.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from mnist_jax import errors
from mnist_jax.errors import ConfigError, MnistJaxError, RunError
from mnist_jax.runtime.distributed import is_multiprocess, lost_processes

T = TypeVar("T")


def on_primary(work: Callable[[], T]) -> T:
    """Runs a function in process 0 only and returns its result, which JSON has to keep, in every process.

    Raises:
        MnistJaxError: what ``work`` raised, in every process.
    """
    if not is_multiprocess():
        return work()
    if jax.process_index() > 0:
        return _take_outcome(_broadcast(b""))
    try:
        value = work()
    except MnistJaxError as error:
        texts = list(error.problems) if isinstance(error, ConfigError) else [str(error)]
        _broadcast(json.dumps({"error": type(error).__name__, "texts": texts}).encode())
        raise
    _broadcast(json.dumps({"value": value}).encode())
    return value


def gather(*numbers: float) -> np.ndarray:
    """Waits for all processes; returns the numbers of each: float32 ``[processes, len(numbers)]``.

    Raises:
        ValueError: there are none, for which no process would wait.
    """
    if not numbers:
        raise ValueError("gather() got no numbers; expected at least one")
    row = np.asarray(numbers, np.float32)
    if not is_multiprocess():
        return row[None]
    with lost_processes():
        return np.asarray(multihost_utils.process_allgather(row))


def raise_together(error: BaseException | None, what: str) -> None:
    """Waits for all processes, and raises in each where ``what`` was being done went wrong in any.

    Raises:
        BaseException: ``error``.
        RunError: something went wrong in another process, which says what.
    """
    if is_multiprocess():
        failed = np.flatnonzero(gather(float(error is not None))[:, 0])
        if error is None and len(failed):
            raise RunError(f"{what} failed in process {failed[0]}, which says why; this one ends too")
    if error is not None:
        raise error


def check_equal(text: str, what: str) -> None:
    """Checks that every process has the same, such as the hash of the data.

    Raises:
        RunError: one has something else; which one.
    """
    if not is_multiprocess():
        return
    first = _broadcast(text.encode()).decode()
    differ = np.flatnonzero(gather(float(first != text))[:, 0])
    if len(differ):
        raise RunError(
            f"{what} of process {differ[0]} differ from those of process 0; expected the same everywhere"
        )


def broadcast_from_primary(tree: Any) -> Any:
    """Sends the arrays of process 0 to every process; in a single process it does nothing."""
    if not is_multiprocess():
        return tree
    with lost_processes():
        return multihost_utils.broadcast_one_to_all(tree)


def exchange(content: bytes) -> list[bytes]:
    """Returns the bytes of every process, in the order of the processes, in each."""
    if not is_multiprocess():
        return [content]
    with lost_processes():
        lengths = multihost_utils.process_allgather(np.int32(len(content)))
        padded = np.zeros(_padded(int(lengths.max())), np.uint8)
        padded[: len(content)] = np.frombuffer(content, np.uint8)
        everyone = np.asarray(multihost_utils.process_allgather(padded), np.uint8)
    return [row[:length].tobytes() for row, length in zip(everyone, lengths.tolist(), strict=True)]


def _padded(length: int) -> int:
    """A few sizes only, so that few programs are compiled."""
    return max(1024, 1 << (length - 1).bit_length())


def _broadcast(content: bytes) -> bytes:
    """Sends the bytes of process 0 to all processes."""
    length = int(broadcast_from_primary(np.int32(len(content))))
    padded = np.zeros(_padded(length), np.uint8)
    if jax.process_index() == 0:
        padded[:length] = np.frombuffer(content, np.uint8)
    return np.asarray(broadcast_from_primary(padded), np.uint8)[:length].tobytes()


def _take_outcome(content: bytes) -> Any:
    outcome = json.loads(content)
    if "error" not in outcome:
        return outcome["value"]
    kind = getattr(errors, outcome["error"], RunError)
    texts: Sequence[str] = outcome["texts"]
    raise kind(texts if issubclass(kind, ConfigError) else texts[0])
