"""From the training command to its first step, with an empty and with a filled compilation cache."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.workers import ROOT
from mnist_jax.errors import RunError
from mnist_jax.storage.json_files import CONFIG_FILE, METRICS_FILE

_GIVE_UP_SECONDS = 900.0


def measure_startup(on_cpu: bool) -> dict[str, Any]:
    """Starts ``mnist_jax.train --config configs/default.py`` twice and stops each after its first step.

    Args:
        on_cpu: where a call can be one step long; an accelerator's shortest call is an epoch, whose few
            tenths of a second are counted with it.

    Returns:
        ``cold_seconds``, ``warm_seconds``, ``peak_host_memory_bytes`` of the second start, and the
        ``dataset``.

    Raises:
        RunError: the command ended, or took a quarter of an hour, before its first step.
    """
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "compiled"
        cold, _, _ = _seconds_to_first_step(Path(folder) / "cold", cache, on_cpu)
        warm, memory, dataset = _seconds_to_first_step(Path(folder) / "warm", cache, on_cpu)
    return {
        "cold_seconds": cold,
        "warm_seconds": warm,
        "peak_host_memory_bytes": memory,
        "dataset": dataset,
    }


def _seconds_to_first_step(workdir: Path, cache: Path, on_cpu: bool) -> tuple[float, int, str]:
    command = [sys.executable, "-m", "mnist_jax.train", "--config", "configs/default.py"]
    command += [f"--workdir={workdir}", "--config.log_every_steps=1"]
    command += ["--config.steps_per_call=1"] if on_cpu else []
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        seconds = _wait_for_line(workdir / METRICS_FILE, process, started)
        memory = _peak_memory_of(process.pid)
        source = json.loads((workdir / CONFIG_FILE).read_text())["run"]["dataset"]["source"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.communicate()
    return seconds, memory, source


def _wait_for_line(path: Path, process: subprocess.Popen, started: float) -> float:
    while time.perf_counter() - started < _GIVE_UP_SECONDS:
        with contextlib.suppress(OSError):
            if b"\n" in path.read_bytes():
                return time.perf_counter() - started
        if process.poll() is not None:
            said = (process.stderr.read() if process.stderr else "").strip().splitlines()
            raise RunError(
                f"the training command ended before its first step: {said[-1] if said else 'silent'}"
            )
        time.sleep(0.02)
    raise RunError(f"no first step within {_GIVE_UP_SECONDS:.0f} s of the training command")


def _peak_memory_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
