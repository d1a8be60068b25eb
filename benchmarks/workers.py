"""Contenders as processes: started one after another, then measured in turn, round by round."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import busy_cpu_seconds, usable_cores

ROOT = Path(__file__).parents[1]


class ContenderError(Exception):
    """A contender that cannot be measured; says why."""


class NotInstalled(ContenderError):
    """A contender whose packages are not installed."""


@dataclass(frozen=True)
class Contender:
    """One process to start: a module of ``benchmarks.contenders`` and its work.

    Attributes:
        key: names it in the results.
        module: of ``benchmarks.contenders``.
        arguments: of ``benchmarks.worker``.
    """

    key: str
    module: str
    arguments: tuple[str, ...] = ()


@dataclass
class Measurements:
    """What rounds of some contenders gave.

    Attributes:
        seconds_per_step: by contender, one a round.
        cpu_seconds_per_step: of the contender's process, all threads.
        steps: by contender, in a round.
        titles: by contender.
        facts: by contender.
        skipped: by contender that was not measured, why.
        others_cpu_share: share of this machine's cores that other processes used, one a round and contender.
    """

    seconds_per_step: dict[str, list[float]] = field(default_factory=dict)
    cpu_seconds_per_step: dict[str, list[float]] = field(default_factory=dict)
    steps: dict[str, list[int]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    others_cpu_share: list[float] = field(default_factory=list)


class Worker:
    """A running ``benchmarks.worker``."""

    def __init__(self, contender: Contender, python: str):
        """Starts it and waits until it has compiled and warmed up.

        Raises:
            NotInstalled: its packages are missing in that interpreter.
            ContenderError: it cannot run here.
        """
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        # Memory of an accelerator is shared by all contenders that are alive.
        sharing = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", contender.module, *contender.arguments],
            cwd=ROOT,
            env={**sharing, **quiet, **os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        try:
            first = self._read()
        except ContenderError:
            self.close()
            raise
        if "ready" not in first:
            self.close()
            if "missing" in first:
                raise NotInstalled(f"not installed: {', '.join(first['missing'])}")
            raise ContenderError(first.get("unavailable") or first["failed"])
        self.title: str = first["ready"]["title"]
        self.device: str = first["ready"]["device"]

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends one request and waits for its reply."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip().splitlines()
        raise ContenderError(
            f"ended with code {self._process.returncode}: {said[-1] if said else 'no message'}"
        )


def measure(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    seconds_per_round: float,
    other_python: str = "",
    on_progress: Callable[[str], None] = lambda text: None,
) -> Measurements:
    """Measures contenders in interleaved rounds, each in its own process, one at a time.

    The order turns by one from round to round, so that none is always the first or always follows the same
    one. A contender that fails, or whose packages are missing both here and in ``other_python``, is skipped.

    Args:
        contenders: what to measure.
        rounds: how many timed pieces each.
        seconds_per_round: about how long a piece is.
        other_python: interpreter for contenders whose packages are missing in this one.
        on_progress: receives a line now and then.
    """
    result = Measurements()
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for contender in contenders:
            on_progress(f"starting {contender.key}")
            try:
                worker = _start(contender, other_python)
            except ContenderError as error:
                result.skipped[contender.key] = str(error)
                continue
            stack.callback(worker.close)
            workers[contender.key] = worker
            result.titles[contender.key] = worker.title
        for round_index in range(rounds):
            on_progress(f"round {round_index + 1} of {rounds}")
            keys = list(workers)
            turn = round_index % max(len(keys), 1)
            for key in keys[turn:] + keys[:turn]:
                _measure_once(result, key, workers[key], seconds_per_round)
        for key, worker in workers.items():
            result.facts[key] = {"device": worker.device, **worker.ask(facts=True)}
    return result


def _start(contender: Contender, other_python: str) -> Worker:
    try:
        return Worker(contender, sys.executable)
    except NotInstalled:
        if not other_python:
            raise
    return Worker(contender, other_python)


def _measure_once(result: Measurements, key: str, worker: Worker, seconds: float) -> None:
    busy = busy_cpu_seconds()
    measured = worker.ask(seconds=seconds)
    steps = measured["steps"]
    result.seconds_per_step.setdefault(key, []).append(measured["seconds"] / steps)
    result.cpu_seconds_per_step.setdefault(key, []).append(measured["cpu_seconds"] / steps)
    result.steps.setdefault(key, []).append(steps)
    if busy is not None and (busy_after := busy_cpu_seconds()) is not None:
        others = busy_after - busy - measured["cpu_seconds"]
        result.others_cpu_share.append(max(0.0, others / measured["seconds"] / usable_cores()))
