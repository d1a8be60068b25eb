"""``python -m benchmarks.demo_load``: the demo with many people at once, some of them slow on purpose."""

import asyncio
import contextlib
import io
import json
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from benchmarks.result_files import JSON_FILE, KEEP, make_result, write_result
from benchmarks.workers import ROOT
from mnist_jax import cli
from mnist_jax.errors import RunError

COMMAND = cli.Command(
    "python -m benchmarks.demo_load",
    "Starts the demo; clients send it drawings one after the other, while slow ones hold half-sent headers\n"
    "and bodies open. Tells how long answers took, the statuses, the memory, and how Ctrl-C ends it then.",
    (
        cli.WORKDIR,
        cli.Flag("clients", 64, "who send drawings", at_least=1, metavar="N"),
        cli.Flag("slow", 64, "who are slow", at_least=0, metavar="N"),
        cli.Flag("seconds", 20, "for how long", at_least=1, metavar="S"),
        JSON_FILE,
        KEEP,
    ),
)

_HEAD = b"POST /api/recognise HTTP/1.1\r\nHost: localhost\r\n"


def main(arguments: cli.Arguments) -> int:
    """Starts the demo, measures, ends it, and prints one line for each figure."""
    from mnist_jax.runtime.environment import collect_versions, describe_device

    command = [sys.executable, "-m", "mnist_jax.demo", "--port=0", f"--workdir={arguments['workdir']}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        try:
            figures = asyncio.run(
                measure(demo, port_of(demo), arguments["clients"], arguments["slow"], arguments["seconds"])
            )
        finally:
            demo.kill()
    print("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in figures.items()))
    settings = {name: arguments[name] for name in ("clients", "slow", "seconds")}
    device = str(describe_device()["device"])
    result = make_result("demo_load", device, settings, figures, collect_versions())
    write_result(result, arguments["json"], arguments["keep"])
    return 0


def port_of(demo: subprocess.Popen[str]) -> int:
    """Waits until the demo says where it is.

    Raises:
        RunError: it ended.
    """
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        if line.startswith("draw at "):
            return urlsplit(line.split()[2]).port or 80
        lines.append(line.strip())
    raise RunError(f"the demo ended with {demo.wait()}: {' '.join(lines)}")


async def measure(
    demo: subprocess.Popen[str], port: int, clients: int, slow: int, seconds: float
) -> dict[str, Any]:
    """Loads the demo, and ends it by Ctrl-C while the load is still there."""
    pictures, latencies, statuses = drawings(32), list[float](), Counter[int]()
    slow_ones = [asyncio.create_task(dawdle(port, number)) for number in range(slow)]
    before = memory_of(demo.pid)
    end = time.monotonic() + seconds
    asking = [
        asyncio.create_task(
            ask(port, pictures[number % len(pictures) :] + pictures, end, latencies, statuses)
        )
        for number in range(clients)
    ]
    await asyncio.sleep(seconds / 2)
    halfway = memory_of(demo.pid)
    await asyncio.gather(*asking)
    after = memory_of(demo.pid)
    # Still asked when it is ended.
    more = [asyncio.create_task(ask(port, pictures, end + 60, [], Counter())) for _ in range(clients)]
    await asyncio.sleep(0.5)
    demo.send_signal(signal.SIGINT)
    start = time.monotonic()
    code = await asyncio.to_thread(demo.wait, 60)
    ended = time.monotonic() - start
    for task in (*slow_ones, *more):
        task.cancel()
    await asyncio.gather(*slow_ones, *more, return_exceptions=True)
    assert demo.stdout is not None
    return {
        "answers": len(latencies),
        "answers_per_second": round(len(latencies) / seconds, 1),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "median_seconds": round(statistics.median(latencies), 3) if latencies else None,
        "slowest_seconds": round(max(latencies, default=float("nan")), 3),
        "memory_mb_before_halfway_after": [before, halfway, after],
        "seconds_from_ctrl_c_to_exit": round(ended, 2),
        "exit_code": code,
        "lines_after_the_address": len(demo.stdout.read().splitlines()),
    }


async def ask(
    port: int, pictures: Sequence[bytes], end: float, latencies: list[float], statuses: Counter[int]
) -> None:
    """Sends pictures one after the other; status 0 counts connections that were lost."""
    number = 0
    while time.monotonic() < end:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            statuses[0] += 1
            return
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while time.monotonic() < end:
                body = pictures[number % len(pictures)]
                number += 1
                start = time.monotonic()
                writer.write(_HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
                try:
                    status = await read_answer(reader)
                except (asyncio.IncompleteReadError, ConnectionError):
                    statuses[0] += 1
                    break
                latencies.append(time.monotonic() - start)
                statuses[status] += 1


async def read_answer(reader: asyncio.StreamReader) -> int:
    """Reads one answer, and returns its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    body = await reader.readexactly(int(length.partition(":")[2]))
    json.loads(body)
    return int(head.split()[1])


async def dawdle(port: int, number: int) -> None:
    """Sends headers, or every second time a body, a byte a second; begins anew where it is hung up on."""
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    if number % 2:
        head = _HEAD + b"Content-Length: 100000\r\n\r\n"
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                writer.write(head)
                while not writer.transport.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(1)
        await asyncio.sleep(0.1)


def drawings(count: int) -> list[bytes]:
    """Embedded digits as a drawing pad sends them: PNG files of 280x280 pixels."""
    from mnist_jax.data.embedded import load_embedded

    files = []
    for image in load_embedded().test.images[:count, ..., 0]:
        file = io.BytesIO()
        Image.fromarray(255 - np.pad(image, 6)).resize((280, 280), Image.Resampling.BILINEAR).save(
            file, "PNG"
        )
        files.append(file.getvalue())
    return files


def memory_of(pid: int) -> int:
    """Resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024)
    return 0


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
