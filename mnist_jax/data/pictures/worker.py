"""Pictures from outside, decoded in a process of their own that may be ended at any moment.

A megabyte can ask for minutes of work or gigabytes of memory, some in its header alone, and a decoder of a
native library cannot be stopped within a process. So a `PictureWorker` starts `worker_process`, once there is
a picture that may take long; of small files none can.
"""

import atexit
import contextlib
import functools
import io
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from mnist_jax.data.pictures.decode import PICTURE_SUFFIXES, PictureFacts, read_facts
from mnist_jax.data.pictures.messages import read_message, unpack_page, unpack_steps, write_message
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.quick import QUICK_BYTES, is_quick
from mnist_jax.data.pictures.steps import Step
from mnist_jax.data.pictures.tasks import QUESTIONS, answer_question, find_on_page, load_picture
from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import open_regular

if TYPE_CHECKING:
    from mnist_jax.data.pictures.pages.find import Page

# A picture of 64 million pixels takes a few seconds and about 1 GB.
CPU_SECONDS = 20
MEMORY_BYTES = 3 * 2**29

_PROGRAM = "mnist_jax.data.pictures.worker_process"

# Of many files these are looked at before the first is read.
_LOOKED_AT = 10


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
                [sys.executable, "-P", "-m", _PROGRAM, str(self._cpu_seconds), str(self._memory_bytes)],
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
            return load_picture(content, preparation, steps)
        with self._lock:
            request = {**preparation.as_dict(), "with_steps": steps is not None}
            answer, body = self._ask(content, request)
        made, body = unpack_steps(answer["steps"], body)
        if steps is not None:
            steps += made
        if "error" in answer:
            raise DataError(str(answer["error"]))
        return np.frombuffer(body, np.uint8).reshape(preparation.image_shape)

    def find_digits(self, content: bytes, steps: list[Step] | None = None) -> "Page":
        """Decodes a picture file of a page and finds the digits on it; ``steps`` as for `prepare`.

        Raises:
            DataError: as `load_page`, or it takes more than the time or the memory accepted.
        """
        if not self._is_for_all and is_quick(io.BytesIO(content), len(content)):
            return find_on_page(content, steps)
        with self._lock:
            answer, body = self._ask(content, {"page": True, "with_steps": steps is not None})
        made, body = unpack_steps(answer["steps"], body)
        if steps is not None:
            steps += made
        if "error" in answer:
            raise DataError(str(answer["error"]))
        return unpack_page(answer, body)

    def look(self, question: str, source: Path | bytes) -> Any:
        """Returns what one of `QUESTIONS` is answered of a picture file, given as its path or its bytes.

        Raises:
            DataError: as `decode.load_image`, or it takes more than the time or the memory accepted.
        """
        asks_facts = QUESTIONS[question] is read_facts
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
        elif (asks_facts and len(source) <= QUICK_BYTES) or is_quick(io.BytesIO(source), len(source)):
            return answer_question(question, io.BytesIO(source))
        with self._lock:
            answer, _ = self._ask(source, request)
        if "error" in answer:
            raise DataError(str(answer["error"]))
        return PictureFacts(*answer["value"]) if asks_facts else answer["value"]

    def _ask(self, content: bytes, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        self._start_where_needed()
        process = self._process
        if process is None:
            raise DataError("no pictures are taken any more")
        assert process.stdin is not None and process.stdout is not None
        try:
            write_message(process.stdin, request, content)
            return read_message(process.stdout)
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
