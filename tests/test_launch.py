"""The launcher with small programs in place of training: output, exit codes, environment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mnist_jax.launch import share_cores, shared_environment

ROOT = Path(__file__).parents[1]


@pytest.fixture
def launch(tmp_path):
    """Gives `launch(program, *words, processes=2)`: starts the launcher with the program as the module."""

    def start(program, *words, processes=2):
        (tmp_path / "program.py").write_text(
            "import os, sys, time\nme = os.environ['JAX_PROCESS_ID']\n" + program
        )
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        command = [sys.executable, "-m", "mnist_jax.launch", f"--processes={processes}", "--module=program"]
        return subprocess.Popen(
            [*command, "--", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def finish(process):
    with process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_output_of_the_first_is_the_output_and_equal_errors_are_told_once(launch):
    program = """
print("out", me, sys.argv[1:])
print("note", me, file=sys.stderr)
print("error: the same", file=sys.stderr)
"""
    code, out, err = finish(launch(program, "--config", "a b"))
    assert (code, out) == (0, "out 0 ['--config', 'a b']\n")
    assert sorted(err.splitlines()) == sorted(
        ["note 0", "error: the same", "[process 1] out 1 ['--config', 'a b']", "[process 1] note 1"]
    )


def test_the_exit_code_is_that_of_the_first_failure_and_the_others_are_ended(launch):
    code, _, err = finish(launch("time.sleep(600) if me == '0' else sys.exit(7)"))
    assert (code, err) == (7, "")


def test_a_killed_process_is_named(launch):
    code, _, err = finish(launch("time.sleep(600) if me == '1' else os.kill(os.getpid(), 9)"))
    assert (code, err) == (137, "error: process 0 was ended by SIGKILL\n")


def test_signals_reach_all(launch):
    program = """
import signal
def end(number, frame):
    # The launcher asks again once the first of them has ended.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Not print: the signal may come while it still writes "ready", and print cannot interrupt itself.
    os.write(2, f"error: ended {me} {number}\\n".encode())
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
os.write(2, b"ready\\n")
# A signal that comes just before a long sleep begins is answered at its end.
while True:
    time.sleep(0.05)
"""
    with launch(program, processes=3) as process:
        for _ in range(3):
            assert "ready" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert sorted(err.splitlines()) == [f"error: ended {i} 15" for i in range(3)]


def test_the_children_of_a_killed_launcher_do_not_stay(launch):
    with launch("print(os.getpid(), file=sys.stderr, flush=True); time.sleep(600)") as process:
        pids = [int(process.stderr.readline().split()[-1]) for _ in range(2)]
        process.kill()
        process.wait()
    end = time.monotonic() + 60
    while any(map(is_alive, pids)):
        assert time.monotonic() < end, "they are still there"
        time.sleep(0.01)


def is_alive(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_the_runtime_says_of_a_lost_process_is_left_out(launch):
    program = '''
print("""E1123 00:33:40.438987   13201 coordination_service.cc:1549] error
F1123 00:33:40.439594   13212 client.h:80] Terminating process
*** Check failure stack trace: ***
    @     0x7f0b52320634  absl::lts_20260107::log_internal::LogMessage::SendToLog()
error: all that is left""", file=sys.stderr)
'''
    code, _, err = finish(launch(program, processes=1))
    assert (code, err) == (0, "error: all that is left\n")


def test_the_environment_has_an_address_and_as_many_devices_as_asked_for():
    environment = {"XLA_FLAGS": "--a=1 --xla_force_host_platform_device_count=8", "HOME": "/h"}
    made = shared_environment(3, 2, environment)
    assert made["XLA_FLAGS"] == "--a=1 --xla_force_host_platform_device_count=2"
    assert made["JAX_NUM_PROCESSES"] == "3" and made["HOME"] == "/h" and made["JAX_PLATFORMS"] == "cpu"
    host, port = made["JAX_COORDINATOR_ADDRESS"].split(":")
    assert host == "127.0.0.1" and 0 < int(port) < 65536
    assert shared_environment(1, 0, environment)["XLA_FLAGS"] == environment["XLA_FLAGS"]


def test_the_number_of_processes_is_required(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mnist_jax.launch", "--", "--config", "x"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2 and done.stderr == "error: --processes: is missing; give --processes N\n"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="binding is Linux'")
def test_cores_are_shared_out(launch, monkeypatch):
    cores = sorted(os.sched_getaffinity(0))
    code, out, _ = finish(launch("print(sorted(os.sched_getaffinity(0)))", processes=1))
    assert (code, out) == (0, f"{cores}\n")
    code, out, err = finish(launch("print(sorted(os.sched_getaffinity(0)))"))
    first, second = share_cores(2)
    assert (code, out) == (0, f"{sorted(first) or cores}\n")
    assert err == f"[process 1] {sorted(second) or cores}\n"
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 2, 4, 5, 7})
    assert share_cores(2) == [{1, 2}, {4, 5}]
    assert share_cores(6) == [set()] * 6
