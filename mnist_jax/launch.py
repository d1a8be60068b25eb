"""``python -m mnist_jax.launch``: several processes of one command on this machine."""

import contextlib
import ctypes
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO

from mnist_jax import cli
from mnist_jax.errors import ConfigError, RunError
from mnist_jax.runtime.distributed import ADDRESS_VARIABLE, COUNT_VARIABLE, ID_VARIABLE

COMMAND = cli.Command(
    "python -m mnist_jax.launch",
    "Starts several processes of one command on this machine, which share the work through JAX' distributed\n"
    "runtime: for tests, and for clusters of CPUs. Where one fails, the others are ended within seconds,\n"
    "and the exit code is that of the first failure. SIGTERM and Ctrl-C reach all of them.\n"
    "--json is passed on to the command, whose first process prints.\n"
    "    python -m mnist_jax.launch --processes 2 -- --config configs/smoke.py --workdir runs/two",
    (
        cli.Flag("processes", 0, "how many", at_least=1, required=True, metavar="N"),
        cli.Flag(
            "devices_per_process",
            0,
            "virtual CPU devices of each; 0 = read from the environment",
            at_least=0,
            metavar="N",
        ),
        cli.Flag("module", "mnist_jax.train", "what each of them runs", non_empty=True, metavar="MODULE"),
    ),
    positional="-- ARGUMENT",
    positional_description="arguments of the command, after two dashes",
)

# After a failure the others see that they are alone, say so and end. These seconds are for that.
_GRACE_SECONDS = 5.0
_DEVICE_COUNT = "--xla_force_host_platform_device_count"

# What JAX' runtime writes about a lost process beside the one line of ours: lines of its log, and what
# belongs to such a line: the rest of a long message, the stack.
_NOISE = re.compile(r"\[Gloo\] |[IWEF]\d{4} \d\d:\d\d:\d\d\.|\*\*\* Check failure stack trace|\s+@ +0x")
_MORE_NOISE = re.compile(
    r"RPC: /xla\.|\d+$|The tasks have crashed|Additional GRPC error|:UNKNOWN:Error received from peer|"
    r"Barrier result: |This suggests that the workers are out of sync|INTERNAL: Barrier failed|$"
)


def main(arguments: cli.Arguments) -> int:
    """Starts the processes and waits for all of them."""
    if not arguments["processes"]:
        raise ConfigError(["--processes: is missing; give --processes N"])
    json = ["--json"] if arguments["json"] else []
    command = [sys.executable, "-m", arguments["module"], *json, *arguments.positional]
    environment = shared_environment(arguments["processes"], arguments["devices_per_process"], os.environ)
    return _Group().run(command, environment, arguments["processes"])


def shared_environment(
    num_processes: int, devices_per_process: int, environment: Mapping[str, str]
) -> dict[str, str]:
    """The environment of all processes but for ``JAX_PROCESS_ID``; 0 devices: as ``environment`` says."""
    flags = environment.get("XLA_FLAGS", "").split()
    if devices_per_process:
        flags = [flag for flag in flags if not flag.startswith(f"{_DEVICE_COUNT}=")]
        flags.append(f"{_DEVICE_COUNT}={devices_per_process}")
    return {
        # One accelerator cannot be shared by processes that know nothing of each other.
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **environment,
        "XLA_FLAGS": " ".join(flags),
        ADDRESS_VARIABLE: f"127.0.0.1:{_free_port()}",
        COUNT_VARIABLE: str(num_processes),
    }


def share_cores(count: int) -> list[set[int]]:
    """Gives each process its own cores; none in particular where there are too few or the system cannot.

    Each would otherwise start as many threads as the machine has cores, and they would wait for each other's.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [set()] * count
    cores = sorted(os.sched_getaffinity(0))
    size = len(cores) // count
    return [set(cores[size * index : size * (index + 1)]) for index in range(count)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Group:
    """The processes of one run."""

    def __init__(self) -> None:
        self._children: list[subprocess.Popen] = []
        self._received: list[int] = []
        self._printing = threading.Lock()
        self._told: set[str] = set()

    def run(self, command: Sequence[str], environment: Mapping[str, str], count: int) -> int:
        """Starts them, and returns the first failure's exit code once all have ended."""
        handlers = {
            number: signal.signal(number, self._forward)
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
        }
        readers: list[threading.Thread] = []
        shares = share_cores(count)
        try:
            for index in range(count):
                variables = {**environment, ID_VARIABLE: str(index)}
                child = self._start(command, variables, index, shares[index])
                self._children.append(child)
                readers += self._read(child, index)
            for number in self._received:
                self._send(number)
            code = self._wait()
        finally:
            for child in self._children:
                child.kill()
                child.wait()
            for reader in readers:
                reader.join()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return code

    def _start(
        self, command: Sequence[str], environment: Mapping[str, str], index: int, cores: set[int]
    ) -> subprocess.Popen:
        try:
            return subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                # The first one's output is that of the run: it goes where the launcher's goes.
                stdout=None if index == 0 else subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                # A Ctrl-C of the terminal is to reach them once: from here.
                start_new_session=True,
                preexec_fn=functools.partial(_prepare, cores),
            )
        except OSError as error:
            raise RunError(f"process {index} cannot be started: {error.strerror}") from error

    def _read(self, child: subprocess.Popen, index: int) -> list[threading.Thread]:
        threads = []
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                threads.append(threading.Thread(target=self._pass_on, args=(stream, index), daemon=True))
                threads[-1].start()
        return threads

    def _pass_on(self, stream: IO[str], index: int) -> None:
        """Passes lines on to stderr, once each: every process finds the same fault in a configuration."""
        in_noise = False
        for line in stream:
            text = line.rstrip("\n")
            in_noise = bool(_NOISE.match(text) or (in_noise and _MORE_NOISE.match(text)))
            if in_noise:
                continue
            with self._printing:
                if text.startswith("error: "):
                    if text in self._told:
                        continue
                    self._told.add(text)
                elif index:
                    text = f"[process {index}] {text}"
                with contextlib.suppress(OSError, ValueError):
                    print(text, file=sys.stderr, flush=True)

    def _wait(self) -> int:
        first_failure, since = 0, 0.0
        while any(child.poll() is None for child in self._children):
            if not first_failure:
                first_failure = self._failure()
                since = time.monotonic()
            elif time.monotonic() - since > _GRACE_SECONDS:
                for child in self._children:
                    child.kill()
            time.sleep(0.02)
        return first_failure or self._failure()

    def _failure(self) -> int:
        """The exit code of a process that failed, 0 where none has; one killed by a signal is told of.

        Of several that ended since the last look it is the one killed: the others miss it, and fail.
        """
        codes = [child.poll() for child in self._children]
        for index, code in enumerate(codes):
            if code is not None and code < 0:
                name = signal.Signals(-code).name
                with self._printing:
                    print(f"error: process {index} was ended by {name}", file=sys.stderr, flush=True)
                return 128 - code
        return next((code for code in codes if code), 0)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)
        self._send(number)

    def _send(self, number: int) -> None:
        for child in self._children:
            if child.poll() is None:
                child.send_signal(number)


def _prepare(cores: set[int]) -> None:
    """Binds a process that is about to start, and so all its threads, to cores; none = all of them."""
    end_with_parent()
    if cores:
        os.sched_setaffinity(0, cores)


def end_with_parent() -> None:
    """Asks Linux to end this process as SIGTERM does where the launcher itself is killed."""
    request_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(request_death_signal, int(signal.SIGTERM))


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
