"""Messages between a program and the process that decodes its pictures.

A message is a line of JSON, which says how many bytes follow it; nothing is unpickled.
"""

import json
import math
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mnist_jax.data.pictures.mnist_form import MNIST_SHAPE
from mnist_jax.data.pictures.steps import Step

if TYPE_CHECKING:
    from mnist_jax.data.pictures.pages.find import Page


def write_message(stream: IO[bytes], head: dict[str, Any], body: bytes) -> None:
    """Writes a head and the bytes that belong to it."""
    stream.write(json.dumps({**head, "bytes": len(body)}).encode() + b"\n")
    stream.write(body)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Reads what `write_message` wrote, its head with the number of bytes.

    Raises:
        EOFError: the stream ends within the message, or before it.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head = json.loads(line)
    body = stream.read(head["bytes"])
    if len(body) < head["bytes"]:
        raise EOFError
    return head, body


def pack_steps(steps: Sequence[Step]) -> tuple[list[Any], bytes]:
    """Describes steps for a head; the bytes are their pixels."""
    return [(step.name, step.image.shape) for step in steps], b"".join(step.image.tobytes() for step in steps)


def unpack_steps(described: list[Any], body: bytes) -> tuple[list[Step], bytes]:
    """Returns the steps that `pack_steps` described, and the bytes that come after theirs."""
    steps, start = [], 0
    for name, shape in described:
        size = math.prod(shape)
        steps.append(Step(name, np.frombuffer(body, np.uint8, size, start).reshape(shape)))
        start += size
    return steps, body[start:]


def pack_page(page: "Page") -> tuple[dict[str, Any], bytes]:
    """Describes a page for a head; the bytes are its pixels and those of its parts."""
    head = {
        "shape": page.shape,
        "gray": page.gray.shape,
        "groups": [[cut_ink, [part[:3] for part in parts]] for cut_ink, parts in page.groups],
    }
    images = [part.image.tobytes() for group in page.groups for part in group.parts]
    return head, b"".join([page.gray.tobytes(), *images])


def unpack_page(head: dict[str, Any], body: bytes) -> "Page":
    """Returns the page that `pack_page` described."""
    from mnist_jax.data.pictures.pages.find import Group, Page, Part

    height, width = head["gray"]
    images = iter(np.frombuffer(body, np.uint8, offset=height * width).reshape(-1, *MNIST_SHAPE, 1))
    groups = [
        Group(cut_ink, [Part(start, end, tuple(box), next(images)) for start, end, box in parts])
        for cut_ink, parts in head["groups"]
    ]
    gray = np.frombuffer(body, np.uint8, height * width).reshape(height, width)
    return Page(groups, gray, tuple(head["shape"]))
