"""Runs of several processes, with and without the launcher, for the end-to-end tests."""

import socket
from pathlib import Path

from tests.e2e.training_runs import Commands, steps_of

PEER_LOST = "another process of this run has ended or cannot be reached"


def launch(commands: Commands, *words, processes=2, devices=2, **options):
    """Starts the launcher; the arguments are those of training."""
    return commands.start(
        "launch", f"--processes={processes}", f"--devices_per_process={devices}", "--", *words, **options
    )


def finish(process, seconds=120):
    """Waits for a process and gives exit code, stdout and stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err


def children_of(process):
    """The processes that a launcher started, by their number."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = {}
    for pid in map(int, listed):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        number = [v for v in variables if v.startswith(b"JAX_PROCESS_ID=")]
        if number:
            found[int(number[0].split(b"=")[1])] = pid
    return found


def start_one(commands, workdir, index, port, *words, count=2, **options):
    """Starts one process of several without the launcher, as people do on several machines."""
    return commands.start_training(
        workdir,
        f"--config.distributed.coordinator_address=127.0.0.1:{port}",
        f"--config.distributed.num_processes={count}",
        f"--config.distributed.process_id={index}",
        *words,
        **options,
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def steps_of_or_none(workdir):
    try:
        return [
            step for step in steps_of(workdir) if (workdir / f"checkpoints/{step}/manifest.json").exists()
        ]
    except FileNotFoundError:
        return []
