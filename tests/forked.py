"""The project's commands in processes that are forked where the package is imported already.

A start costs less than ``python -m``; what is killed is a process like any other. JAX has no backend
yet where the fork happens.
"""

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import mock

_IMPORTED = [
    "orbax.checkpoint",
    "mnist_jax.run.loop",
    "mnist_jax.report.after_run",
    "mnist_jax.terminal.console",
]


class ForkedCommand:
    """A command under way, with the part of `subprocess.Popen` that waits, kills and reads."""

    def __init__(self, words: Sequence[str], said: Path):
        """Starts ``python WORD...``, ``-m MODULE`` or a file and its arguments; ``said`` takes its stderr."""
        self._said = said
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=_run, args=(list(words), str(said)))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self) -> tuple[str, str]:
        """Waits for the end; what was said on stdout is not kept."""
        self._process.join()
        return "", self._said.read_text() if self._said.exists() else ""

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode


def start_server(environment: Mapping[str, str]) -> None:
    """Starts the process that imports the package and forks; its children have this environment."""
    multiprocessing.set_forkserver_preload(_IMPORTED)
    # JAX warns of every fork, whether it has started its threads or not.
    quiet = {"PYTHONWARNINGS": "ignore::RuntimeWarning"}
    with mock.patch.dict(os.environ, {**environment, **quiet}, clear=True):
        multiprocessing.forkserver.ensure_running()


def _run(words: list[str], said: str) -> None:
    warnings.resetwarnings()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
