"""``python -m benchmarks.worker NAME``: one contender in a process of its own, told on stdin what to do.

A line ``{"steps": N}`` or ``{"seconds": S}`` is one timed piece of work; ``{"facts": true}`` asks for what
else there is to tell. Each gets one line of JSON on the process' first stdout; whatever libraries print goes
to stderr.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import time
import warnings
from typing import Any, TextIO

from benchmarks.contenders import Runner, Unavailable, Work
from mnist_jax.runtime.environment import peak_host_memory_bytes

_WARM_UP_STEPS = 5
_WARM_UP_SECONDS = 2.0


def main(argv: list[str] | None = None) -> int:
    """Answers until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--batch_size", type=int, default=Work.batch_size)
    parser.add_argument("--dtype", default=Work.dtype)
    parser.add_argument("--num_examples", type=int, default=Work.num_examples)
    parser.add_argument("--network", default=Work.network)
    parser.add_argument("--image_shape", type=int, nargs=3, default=Work.image_shape)
    arguments = vars(parser.parse_args(argv))
    name = arguments.pop("name")
    work = Work(**{**arguments, "image_shape": tuple(arguments["image_shape"])})
    replies = _reserve_stdout()
    warnings.simplefilter("ignore")
    module = (
        importlib.import_module(f"benchmarks.contenders.{name}") if _packages_here(name, replies) else None
    )
    if module is None:
        return 0
    try:
        runner = module.build(work)
        seconds_per_step = warm_up(runner)
    except Unavailable as reason:
        _reply(replies, {"unavailable": str(reason)})
        return 0
    except Exception as error:
        _reply(replies, {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
        return 0
    _reply(replies, {"ready": {"title": module.TITLE, "device": runner.device}})
    for line in sys.stdin:
        request = json.loads(line)
        if "facts" in request:
            _reply(replies, {**runner.facts(), **_common_facts(runner)})
            continue
        steps = request.get("steps") or max(1, round(request["seconds"] / seconds_per_step))
        measured = timed(runner, steps)
        seconds_per_step = measured["seconds"] / measured["steps"]
        _reply(replies, measured)
    return 0


def _packages_here(name: str, replies: TextIO) -> bool:
    """Whether the contender's packages are installed in this interpreter; if not, says which are missing."""
    # The contender's own file may import them at its top, so they are read from its source.
    source = importlib.util.find_spec(f"benchmarks.contenders.{name}")
    if source is None or source.origin is None:
        _reply(replies, {"failed": f"there is no contender {name!r}"})
        return False
    missing = [package for package in declared_packages(source.origin) if not _is_installed(package)]
    if missing:
        _reply(replies, {"missing": missing})
    return not missing


def declared_packages(path: str) -> tuple[str, ...]:
    """Reads ``PACKAGES`` of a contender's file without running it."""
    import ast

    with open(path, encoding="utf-8") as file:
        for node in ast.parse(file.read()).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "PACKAGES":
                return tuple(ast.literal_eval(node.value))
    return ()


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def warm_up(runner: Runner) -> float:
    """Compiles and settles, untimed for the result; returns the seconds a step takes, for planning."""
    for _ in range(2):
        measured = timed(runner, 1)
    # A step of a large network takes seconds.
    for _ in range(2):
        affordable = _WARM_UP_SECONDS * measured["steps"] // measured["seconds"]
        measured = timed(runner, min(max(int(affordable), 1), _WARM_UP_STEPS))
    return measured["seconds"] / measured["steps"]


def timed(runner: Runner, steps: int) -> dict[str, float]:
    """Runs at least that many steps; the clock stops when the device is done."""
    steps = -(-steps // runner.unit_steps) * runner.unit_steps
    cpu, start = time.process_time(), time.perf_counter()
    runner.run(steps)
    seconds = time.perf_counter() - start
    return {"steps": steps, "seconds": seconds, "cpu_seconds": time.process_time() - cpu}


def _common_facts(runner: Runner) -> dict[str, Any]:
    return {
        "peak_host_memory_bytes": peak_host_memory_bytes(),
        "versions": {"python": platform.python_version(), **_versions(runner.distributions)},
    }


def _versions(distributions: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _reserve_stdout() -> TextIO:
    """Keeps stdout for replies; everything else that is printed there goes to stderr."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _reply(replies: TextIO, content: dict[str, Any]) -> None:
    replies.write(json.dumps(content) + "\n")
    replies.flush()


if __name__ == "__main__":
    sys.exit(main())
