"""A process that is frozen, or whose network is gone: the others end with one line, and the run goes on."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mnist_jax.runtime.distributed import HEARTBEAT_SECONDS
from tests.e2e.several_processes import (
    PEER_LOST,
    finish,
    free_port,
    launch,
    start_one,
    steps_of_or_none,
)
from tests.e2e.training_runs import SINGLE_STEPS, SMALL, TOTAL_STEPS, steps_of, wait_until

pytestmark = pytest.mark.slow
FREQUENT = [SINGLE_STEPS, "--config.checkpoint.every_steps=10"]


def expect_end_with_one_line(process, since):
    """Ends within the heartbeat, the time to tell and that of a busy machine."""
    code, _, err = finish(process, seconds=120)
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 1 and len(told) == 1 and PEER_LOST in told[0], err
    assert "Traceback" not in err
    assert time.monotonic() - since < 3 * HEARTBEAT_SECONDS


def expect_to_go_on(commands, workdir):
    assert not (workdir / "summary.json").exists()
    code, out, err = finish(launch(commands, *SMALL, f"--workdir={workdir}", *FREQUENT, devices=1))
    assert (code, err) == (0, ""), (out, err)
    assert "going on from step" in out
    assert steps_of(workdir)[-1] == TOTAL_STEPS


@pytest.mark.parametrize("victim", [0, 1])
def test_a_frozen_process_ends_the_other_and_itself_once_it_thaws(commands, tmp_path, victim):
    workdir, port = tmp_path / "run", free_port()
    on_1 = commands.on_devices(1)
    processes = [start_one(on_1, workdir, index, port, *FREQUENT) for index in range(2)]
    wait_until(lambda: steps_of_or_none(workdir), processes[0])
    processes[victim].send_signal(signal.SIGSTOP)
    frozen = time.monotonic()
    expect_end_with_one_line(processes[1 - victim], frozen)
    processes[victim].send_signal(signal.SIGCONT)
    expect_end_with_one_line(processes[victim], time.monotonic())
    expect_to_go_on(commands, workdir)


@pytest.fixture
def two_hosts():
    """Two network namespaces with a link between them: how to run a command in each, and how to cut it."""
    if os.geteuid() or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("network namespaces are made by root, with ip and unshare")
    names = [f"mnist-jax-{os.getpid()}-{index}" for index in range(2)]
    folders = [Path("/etc/netns") / name for name in names]

    def ip(*words):
        return subprocess.run(["ip", *words], check=True, capture_output=True, text=True)

    try:
        for name in names:
            ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        ip("link", "add", "one", "netns", names[0], "type", "veth", "peer", "name", "one", "netns", names[1])
        for index, (name, folder) in enumerate(zip(names, folders, strict=True)):
            ip("-n", name, "address", "add", f"10.99.0.{index + 1}/24", "dev", "one")
            ip("-n", name, "link", "set", "one", "up")
            ip("-n", name, "link", "set", "lo", "up")
            folder.mkdir(parents=True)
            (folder / "hosts").write_text(f"127.0.0.1 localhost\n10.99.0.{index + 1} {name}\n")
        script = 'hostname "$0" && exec "$@"'
        programs = [
            ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", script, name] for name in names
        ]
        yield programs, lambda: ip("-n", names[0], "link", "set", "one", "down")
    finally:
        for name, folder in zip(names, folders, strict=True):
            subprocess.run(["ip", "netns", "del", name], check=False)
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folders[0].parent.rmdir()  # where nobody else has one


def test_a_lost_network_ends_both_processes(commands, tmp_path, two_hosts):
    programs, cut = two_hosts
    workdir, on_1 = tmp_path / "run", commands.on_devices(1)
    processes = [
        on_1.start_training(
            workdir,
            "--config.distributed.coordinator_address=10.99.0.1:4711",
            "--config.distributed.num_processes=2",
            f"--config.distributed.process_id={index}",
            *FREQUENT,
            program=[*program, sys.executable, "-m", "mnist_jax.train"],
        )
        for index, program in enumerate(programs)
    ]
    wait_until(lambda: steps_of_or_none(workdir), processes[0])
    cut()
    gone = time.monotonic()
    for process in processes:
        expect_end_with_one_line(process, gone)
    expect_to_go_on(commands, workdir)
