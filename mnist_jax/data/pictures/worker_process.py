"""The process that decodes pictures from outside, within limits of processor time and memory.

`worker.PictureWorker` starts this file as a program and may end it at any moment.
"""

import contextlib
import importlib
import io
import os
import resource
import sys
from typing import Any, BinaryIO

import numpy as np

from mnist_jax.data.pictures.messages import pack_page, pack_steps, read_message, write_message
from mnist_jax.data.pictures.mnist_form import MNIST_SHAPE
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.steps import Step
from mnist_jax.data.pictures.tasks import answer_question, find_on_page, load_picture
from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import open_regular

_PAGE_FINDER = "mnist_jax.data.pictures.pages.find"
_TOO_LARGE = "takes more than the memory accepted to decode"


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
            head, content = read_message(requests)
        except EOFError:
            return
        except MemoryError:
            # The rest of the request is still in the pipe: only a new process knows where the next begins.
            write_message(answers, {"error": _TOO_LARGE, "steps": []}, b"")
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        del head["bytes"]
        if "page" in head and _PAGE_FINDER not in sys.modules:
            _limit_memory(2**60)
            importlib.import_module(_PAGE_FINDER)
            _limit_memory(memory_bytes)
        write_message(answers, *_answer(head, content))


def _limit_memory(memory_bytes: int) -> None:
    """Allows so much more than is in use now."""
    limit = _address_space_bytes() + memory_bytes
    with contextlib.suppress(ValueError, OSError):  # a lower limit is there already
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _answer(request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    steps: list[Step] | None = [] if request.get("with_steps") else None
    head: dict[str, Any] = {}
    body = b""
    try:
        if "question" in request:
            opened = open_regular(request["path"]) if "path" in request else io.BytesIO(content)
            with opened as source:
                return {"value": answer_question(request["question"], source)}, b""
        if "page" in request:
            head, body = pack_page(find_on_page(content, steps))
        else:
            body = load_picture(content, Preparation.from_dict(request), steps).tobytes()
    except DataError as error:
        head["error"] = _TOO_LARGE if isinstance(error.__cause__, MemoryError) else str(error)
    except MemoryError:
        head["error"] = _TOO_LARGE
    except OSError as error:
        head["error"] = f"cannot be read ({error.strerror or error})"
    head["steps"], pixels = pack_steps(steps or ())
    return head, pixels + body


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
