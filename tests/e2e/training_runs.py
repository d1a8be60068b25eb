"""Real training runs in processes of their own, and what is left of one, for the end-to-end tests."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mnist_jax.storage.metrics_log import TIMING_FIELDS, read_metrics
from tests.programs import QUICKLY_COMPILED

ROOT = Path(__file__).parents[2]

# A second of work in 144 steps, with everything that a state can hold; one convolution, for the time that a
# process takes is mostly tracing and compiling.
STEPS_PER_EPOCH, TOTAL_STEPS = 36, 144
SMALL = [
    f"--config={ROOT / 'configs' / 'smoke.py'}",
    "--config.model.features=(2,)",
    "--config.model.pool_after=(0,)",
    "--config.model.dense_features=8",
    "--config.batch_size=16",
    "--config.num_epochs=4",
    "--config.data.train_examples=640",
    "--config.data.validation_examples=64",
    "--config.eval_batch_size=250",
    "--config.optim.ema_fraction=0.2",
]
# The cuts never change what is computed; these let a run be met in the middle of an epoch.
SINGLE_STEPS = "--config.steps_per_call=1"
EVERY_STEP_LOGGED = "--config.log_every_steps=1"

# What two equal runs do not share: how long they took, and a commit made between them.
_TIMES = {
    "git_commit",
    "train_seconds",
    "eval_seconds",
    "compile_seconds",
    "images_per_second",
    "steps_per_second",
    "peak_host_memory_bytes",
}


class Commands:
    """Starts the project's commands as a person does; ``cache`` is where they keep all but programs.

    XLA takes less trouble with programs that run for moments, except where ``XLA_FLAGS`` is given.
    """

    def __init__(self, cache: Path, **environment: str):
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("XLA_FLAGS", "MNIST_JAX_DATA_DIR", "PYTHONWARNINGS")
        }
        self._cache = cache
        self.environment = {
            **kept,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": QUICKLY_COMPILED,
            "XDG_CACHE_HOME": str(cache),
            "PYTHONPATH": str(ROOT),
            **environment,
        }

    def with_environment(self, **environment: str) -> "Commands":
        return Commands(self._cache, **environment)

    def on_devices(self, count: int, **environment: str) -> "Commands":
        """The same with ``count`` virtual devices."""
        flags = f"{QUICKLY_COMPILED} --xla_force_host_platform_device_count={count}"
        return self.with_environment(XLA_FLAGS=flags, **environment)

    def fully_optimized(self) -> "Commands":
        """The same with programs as people have them: for what trains a network of usual size."""
        return self.with_environment(XLA_FLAGS="")

    def start(self, main: str, *words: str, program: Sequence[str] = (), **options: Any) -> subprocess.Popen:
        """Starts a main, or ``program``, which stands in for ``python -m mnist_jax.MAIN``."""
        defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
        command = [*(program or (sys.executable, "-m", f"mnist_jax.{main}")), *words]
        return subprocess.Popen(command, env=self.environment, **{**defaults, **options})

    def run(self, main: str, *words: str, **options: Any) -> subprocess.CompletedProcess:
        with self.start(main, *words, **options) as process:
            try:
                out, err = process.communicate(timeout=300)
            finally:
                process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def train(self, workdir: Path | str, *words: str, **options: Any) -> subprocess.CompletedProcess:
        """Runs the small configuration to its end and expects that to succeed."""
        done = self.run("train", *SMALL, f"--workdir={workdir}", *words, **options)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert not done.stderr, done.stderr
        return done

    def start_training(self, workdir: Path | str, *words: str, **options: Any) -> subprocess.Popen:
        return self.start("train", *SMALL, f"--workdir={workdir}", *words, **options)


def wait_until(condition: Callable[[], Any], process: subprocess.Popen, seconds: float = 120) -> None:
    """Waits for what a running process does; fails where it ends first."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended early: {process.communicate()}"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)


def lines_written(workdir: Path, count: int) -> Callable[[], bool]:
    def enough() -> bool:
        try:
            return (workdir / "metrics.jsonl").read_bytes().count(b"\n") >= count
        except FileNotFoundError:
            return False

    return enough


def expect_one_line(done: subprocess.CompletedProcess, code: int, *parts: str) -> str:
    """A fault is told in one line on stderr and by the exit code."""
    assert done.returncode == code, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for part in parts:
        assert part in lines[0], f"{part!r} is not in {lines[0]!r}"
    return lines[0]


def steps_of(workdir: Path) -> list[int]:
    """The checkpoints there are, newest last."""
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


def arrays_of(workdir: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, the newest by default, read with Orbax alone."""
    folder = (
        workdir / "checkpoints" / str(steps_of(workdir)[-1] if step is None else step) / "state"
    ).absolute()
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        item = checkpointer.metadata(folder).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
        tree = checkpointer.restore(folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in TIMING_FIELDS | _TIMES}


def expect_same_end(workdir: Path, reference: Path) -> None:
    """Two finished runs are equal bit for bit: arrays, metrics and summary, times apart."""
    assert steps_of(workdir)[-1] == steps_of(reference)[-1]
    arrays, expected = arrays_of(workdir), arrays_of(reference)
    assert arrays.keys() == expected.keys()
    assert any("ema" in name for name in arrays) and any("opt_state" in name for name in arrays)
    different = [name for name in arrays if arrays[name].tobytes() != expected[name].tobytes()]
    assert not different, f"{len(different)} of {len(arrays)} arrays differ: {different[:3]}"
    assert list(map(without_times, read_metrics(workdir))) == list(
        map(without_times, read_metrics(reference))
    )
    epochs, expected_epochs = ((run / "epochs.npz").read_bytes() for run in (workdir, reference))
    assert epochs == expected_epochs, "the filters and norms of each epoch"
    summary, wanted = (json.loads((run / "summary.json").read_bytes()) for run in (workdir, reference))
    assert without_times(summary) == without_times(wanted)


def saved_step(out: str) -> int:
    """The step that a stopped run says it saved."""
    found = re.search(r"saved step (\d+)", out)
    assert found, out
    return int(found[1])
