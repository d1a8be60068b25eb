"""Pictures from outside, decoded in a process of their own that may be ended at any moment.

A megabyte can ask for minutes of work or gigabytes of memory, some in its header alone, and a decoder of a
native library cannot be stopped within a process. So a `PictureWorker` starts this file as a program, once
there is a picture that may take long; of small files none can. Requests and answers go through pipes as a
line of JSON, which says how many bytes follow it; nothing is unpickled.
"""

import atexit
import contextlib
import functools
import importlib
import io
import json
import math
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from mnist_jax.data.pictures.decode import (
    PICTURE_SUFFIXES,
    PictureFacts,
    background_of,
    highest_tone,
    read_facts,
)
from mnist_jax.data.pictures.mnist_form import MNIST_SHAPE
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.quick import QUICK_BYTES, is_quick
from mnist_jax.data.pictures.steps import Step
from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import open_regular

if TYPE_CHECKING:
    from mnist_jax.data.pictures.decode import Source
    from mnist_jax.data.pictures.pages.find import Page

# A picture of 64 million pixels takes a few seconds and about 1 GB.
CPU_SECONDS = 20
MEMORY_BYTES = 3 * 2**29

# Of many files these are looked at before the first is read.
_LOOKED_AT = 10

# What may be asked of a picture file before it is known how all are prepared.
QUESTIONS: dict[str, Callable[["Source"], Any]] = {
    function.__name__: function for function in (read_facts, highest_tone, background_of)
}

_PAGE_FINDER = "mnist_jax.data.pictures.pages.find"


class PictureWorker:
    """Prepares pictures one by one, each within limits of processor time and memory.

    A process is started when the first picture comes that needs it (or with `start`), and again where one was
    ended.
    """

    def __init__(
        self, cpu_seconds: int = CPU_SECONDS, memory_bytes: int = MEMORY_BYTES, is_for_all: bool = False
    ):
        """Starts nothing yet.

        Args:
            cpu_seconds: processor time that a picture may take.
            memory_bytes: memory that it may take beside what the idle process has.
            is_for_all: whether small pictures, which this process may as well decode, go there too.
        """
        self._is_for_all = is_for_all
        self._lock = threading.Lock()
        self._cpu_seconds = cpu_seconds
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def start(self) -> None:
        """Starts the process, so that the first picture does not wait for it."""
        self._closed = False
        self._start_where_needed()

    def _start_where_needed(self) -> None:
        if self._process is None and not self._closed:
            self._process = subprocess.Popen(
                # -P: the working folder may be somebody else's as well, and holds no modules of ours.
                [sys.executable, "-P", "-m", __name__, str(self._cpu_seconds), str(self._memory_bytes)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Ctrl-C is for the program alone.
                start_new_session=True,
            )

    def prepare(
        self, content: bytes, preparation: Preparation, steps: list[Step] | None = None
    ) -> UInt8[np.ndarray, "height width channels"]:
        """Decodes a picture file and prepares it.

        Args:
            content: the bytes of the file.
            preparation: that of the data which the network was trained on.
            steps: where to add what each step made of it, also where it ends in an error.

        Raises:
            DataError: as `Preparation.load`, or it takes more than the time or the memory accepted.
        """
        if not self._is_for_all and is_quick(io.BytesIO(content), len(content)):
            return _load(content, preparation, steps)
        with self._lock:
            request = {**preparation.as_dict(), "with_steps": steps is not None}
            answer, body = self._ask(content, request)
        made = _unpack_steps(answer["steps"], body)
        if steps is not None:
            steps += made
        if "error" in answer:
            raise DataError(str(answer["error"]))
        pixels = np.frombuffer(body, np.uint8, offset=sum(step.image.size for step in made))
        return pixels.reshape(preparation.image_shape)

    def find_digits(self, content: bytes, steps: list[Step] | None = None) -> "Page":
        """Decodes a picture file of a page and finds the digits on it; ``steps`` as for `prepare`.

        Raises:
            DataError: as `load_page`, or it takes more than the time or the memory accepted.
        """
        if not self._is_for_all and is_quick(io.BytesIO(content), len(content)):
            return _load_page(content, steps)
        with self._lock:
            answer, body = self._ask(content, {"page": True, "with_steps": steps is not None})
        made = _unpack_steps(answer["steps"], body)
        if steps is not None:
            steps += made
        if "error" in answer:
            raise DataError(str(answer["error"]))
        return _unpack_page(answer, body[sum(step.image.size for step in made) :])

    def look(self, question: str, source: Path | bytes) -> Any:
        """Returns what one of `QUESTIONS` is answered of a picture file, given as its path or its bytes.

        Raises:
            DataError: as `decode.load_image`, or it takes more than the time or the memory accepted.
        """
        ask = QUESTIONS[question]
        request = {"question": question}
        try:
            if isinstance(source, Path):
                with open_regular(source) as file:
                    is_small = os.fstat(file.fileno()).st_size <= QUICK_BYTES
                    source = file.read() if is_small else source
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror or error})") from error
        if isinstance(source, Path):
            request["path"], source = os.path.abspath(source), b""
        elif ask is read_facts and len(source) <= QUICK_BYTES or is_quick(io.BytesIO(source), len(source)):
            with _without_a_name():
                return ask(io.BytesIO(source))
        with self._lock:
            answer, _ = self._ask(source, request)
        if "error" in answer:
            raise DataError(str(answer["error"]))
        return PictureFacts(*answer["value"]) if ask is read_facts else answer["value"]

    def _ask(self, content: bytes, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        self._start_where_needed()
        process = self._process
        if process is None:
            raise DataError("no pictures are taken any more")
        assert process.stdin is not None and process.stdout is not None
        try:
            _write(process.stdin, request, content)
            return _read(process.stdout)
        except (OSError, EOFError, ValueError):
            raise DataError(self._why_it_ended(process)) from None

    def close(self) -> None:
        """Ends the process at once, also from another thread while it is busy; `start` begins anew."""
        self._closed = True
        process = self._process
        if process is not None:
            self._discard(process)

    def __enter__(self) -> "PictureWorker":
        """Starts the process."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends the process."""
        self.close()

    def _why_it_ended(self, process: "subprocess.Popen[bytes]") -> str:
        code = self._discard(process)
        if code == -signal.SIGXCPU:
            return f"takes more than the {self._cpu_seconds} seconds accepted to decode"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its decoder ended ({name})"

    def _discard(self, process: "subprocess.Popen[bytes]") -> int:
        self._process = None
        process.kill()
        code = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                # What it did not take in cannot be written any more.
                with contextlib.suppress(OSError):
                    stream.close()
        return code


class PictureWorkers:
    """Several of them, for several threads."""

    def __init__(self, count: int):
        """Starts none yet."""
        self._workers = [PictureWorker(is_for_all=True) for _ in range(count)]
        self._idle: queue.SimpleQueue[PictureWorker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def start(self) -> None:
        """Starts their processes."""
        for worker in self._workers:
            worker.start()

    def prepare(
        self, content: bytes, preparation: Preparation, steps: list[Step] | None = None
    ) -> UInt8[np.ndarray, "height width channels"]:
        """Prepares a picture file as `PictureWorker.prepare`, once a worker is idle."""
        worker = self._idle.get()
        try:
            return worker.prepare(content, preparation, steps)
        finally:
            self._idle.put(worker)

    def find_digits(self, content: bytes) -> "Page":
        """Finds the digits on a page as `PictureWorker.find_digits`, once a worker is idle."""
        worker = self._idle.get()
        try:
            return worker.find_digits(content)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Ends their processes at once, whatever they are busy with."""
        for worker in self._workers:
            worker.close()


@functools.cache
def shared_worker() -> PictureWorker:
    """Returns the worker of this program, which ends with it."""
    worker = PictureWorker()
    atexit.register(worker.close)
    return worker


def start_early(files: Sequence[str]) -> None:
    """Starts the shared worker's process if one of the first files needs it, which takes a second.

    Of files that cannot be read nothing is said yet; pipes and folders are left alone.
    """
    for file in files[:_LOOKED_AT]:
        with contextlib.suppress(OSError, ValueError):
            is_picture = file.lower().endswith(PICTURE_SUFFIXES) and os.path.isfile(file)
            if is_picture and not is_quick(file, os.path.getsize(file)):
                shared_worker().start()
                return


def _write(stream: BinaryIO | Any, head: dict[str, Any], body: bytes) -> None:
    stream.write(json.dumps({**head, "bytes": len(body)}).encode() + b"\n")
    stream.write(body)
    stream.flush()


def _read(stream: BinaryIO | Any) -> tuple[dict[str, Any], bytes]:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head = json.loads(line)
    body = stream.read(head["bytes"])
    if len(body) < head["bytes"]:
        raise EOFError
    return head, body


def serve(requests: BinaryIO, answers: BinaryIO, cpu_seconds: int, memory_bytes: int) -> None:
    """Answers requests until there are no more.

    Args:
        requests: for each picture its preparation and the bytes of its file.
        answers: for each an object with ``steps`` and their pixels, and the pixels of the picture or
            ``error``.
        cpu_seconds: at more a picture the system ends this process.
        memory_bytes: at more a picture is refused.
    """
    # What is imported and allocated for good, BLAS' buffers among it, is there before memory is counted.
    preparation = Preparation("mnist", (*MNIST_SHAPE, 1))
    _answer(preparation.as_dict(), b"")
    preparation.apply(np.pad(np.ones((20, 4)), 10))
    _limit_memory(memory_bytes)
    # A core would be as large as what it took.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            head, content = _read(requests)
        except EOFError:
            return
        except MemoryError:
            # The rest of the request is still in the pipe: only a new process knows where the next begins.
            _write(answers, {"error": _TOO_LARGE, "steps": []}, b"")
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        del head["bytes"]
        if "page" in head and _PAGE_FINDER not in sys.modules:
            _limit_memory(2**60)
            importlib.import_module(_PAGE_FINDER)
            _limit_memory(memory_bytes)
        _write(answers, *_answer(head, content))


def _limit_memory(memory_bytes: int) -> None:
    """Allows so much more than is in use now."""
    limit = _address_space_bytes() + memory_bytes
    with contextlib.suppress(ValueError, OSError):  # a lower limit is there already
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


_TOO_LARGE = "takes more than the memory accepted to decode"


def _answer(request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    steps: list[Step] | None = [] if request.get("with_steps") else None
    head: dict[str, Any] = {}
    body = b""
    try:
        if "question" in request:
            opened = open_regular(request["path"]) if "path" in request else io.BytesIO(content)
            with _without_a_name(), opened as source:
                return {"value": QUESTIONS[request["question"]](source)}, b""
        if "page" in request:
            head, body = _pack_page(_load_page(content, steps))
        else:
            body = _load(content, Preparation.from_dict(request), steps).tobytes()
    except DataError as error:
        head["error"] = _TOO_LARGE if isinstance(error.__cause__, MemoryError) else str(error)
    except MemoryError:
        head["error"] = _TOO_LARGE
    except OSError as error:
        head["error"] = f"cannot be read ({error.strerror or error})"
    head["steps"] = [(step.name, step.image.shape) for step in steps or ()]
    return head, b"".join([*(step.image.tobytes() for step in steps or ()), body])


def _unpack_steps(described: list[Any], body: bytes) -> list[Step]:
    steps, start = [], 0
    for name, shape in described:
        size = math.prod(shape)
        steps.append(Step(name, np.frombuffer(body, np.uint8, size, start).reshape(shape)))
        start += size
    return steps


def _load(content: bytes, preparation: Preparation, steps: list[Step] | None) -> np.ndarray:
    with _without_a_name():
        return preparation.load(io.BytesIO(content), steps)


def _load_page(content: bytes, steps: list[Step] | None) -> "Page":
    from mnist_jax.data.pictures.pages.find import load_page

    with _without_a_name():
        return load_page(io.BytesIO(content), steps)


@contextlib.contextmanager
def _without_a_name() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(str(error).removeprefix("the picture: ")) from error.__cause__
    except ValueError as error:
        # Files of floating-point pixels may hold numbers that are no tones.
        raise DataError(str(error)) from error


def _pack_page(page: "Page") -> tuple[dict[str, Any], bytes]:
    head = {
        "shape": page.shape,
        "gray": page.gray.shape,
        "groups": [[cut_ink, [part[:3] for part in parts]] for cut_ink, parts in page.groups],
    }
    images = [part.image.tobytes() for group in page.groups for part in group.parts]
    return head, b"".join([page.gray.tobytes(), *images])


def _unpack_page(head: dict[str, Any], body: bytes) -> "Page":
    from mnist_jax.data.pictures.pages.find import Group, Page, Part

    height, width = head["gray"]
    images = iter(np.frombuffer(body, np.uint8, offset=height * width).reshape(-1, *MNIST_SHAPE, 1))
    groups = [
        Group(cut_ink, [Part(start, end, tuple(box), next(images)) for start, end, box in parts])
        for cut_ink, parts in head["groups"]
    ]
    gray = np.frombuffer(body, np.uint8, height * width).reshape(height, width)
    return Page(groups, gray, tuple(head["shape"]))


def _address_space_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):  # not Linux, where RLIMIT_AS means little
        return 2**40


if __name__ == "__main__":
    # Nothing that a library prints may get among the answers.
    _answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, _answers, int(sys.argv[1]), int(sys.argv[2]))
