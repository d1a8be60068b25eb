"""SIGTERM and Ctrl-C: the first asks, the second ends, and the old handlers come back."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mnist_jax.runtime.signals import StopRequest

LOOP = """
import sys, time
from mnist_jax.runtime.signals import StopRequest
with StopRequest() as stop:
    print("ready", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    print("stopping", flush=True)
    time.sleep(float(sys.argv[1]))
    print("saved", flush=True)
sys.exit(stop.exit_code)
"""

# The main thread stays in one call that does not return to Python, as it does waiting for a device.
BUSY = """
import hashlib
from mnist_jax.runtime.signals import StopRequest
with StopRequest():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**9)
"""


def start(code: str, *arguments: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)]
)
def test_first_signal_lets_the_run_save(number, code):
    process = start(LOOP, "0")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "stopping\nsaved\n", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_second_signal_exits_at_once(number, code):
    process = start(LOOP, "60")
    process.send_signal(number)
    assert process.stdout.readline() == "stopping\n"
    time.sleep(0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert err == f"second {number.name}: exiting at once, without saving\n"


def test_same_signal_handed_on_twice_is_one_request():
    process = start(LOOP, "0.5")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (143, "stopping\nsaved\n", "")


def test_second_signal_exits_while_the_main_thread_never_returns_to_python():
    process = start(BUSY)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    # Both asked; the code is that of the first.
    assert process.returncode == 143


# As while compiling: busy, and nothing to save yet.
BEFORE_WORK = BUSY.replace("StopRequest()", "StopRequest(work_begun=False)")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_before_the_work_begins_the_first_signal_exits_at_once(number, code):
    process = start(BEFORE_WORK)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    name = signal.Signals(number).name
    assert (process.returncode, out) == (code, "")
    assert err == f"stopped by {name} before the first step: nothing to save\n"


def test_once_the_work_began_the_first_signal_waits():
    with StopRequest(work_begun=False) as stop:
        stop.work_begins()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested and stop.exit_code == 143


def test_flag_is_up_before_the_next_line():
    with StopRequest() as stop:
        assert (stop.requested, stop.exit_code, stop.signal) == (False, 0, None)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.requested, stop.exit_code, stop.signal) == (True, 143, signal.SIGTERM)
    assert stop.requested


def test_old_handlers_come_back():
    def mine(number, frame):
        pass

    # Whatever this process was started with: in the background a shell has SIGINT ignored.
    before = {number: signal.signal(number, mine) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        threads = threading.active_count()
        for _ in range(3):
            with StopRequest():
                assert mine not in (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is mine
        assert signal.set_wakeup_fd(-1) == -1
        assert threading.active_count() == threads
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_outside_the_main_thread_it_does_nothing():
    seen = []

    def run():
        handler = signal.getsignal(signal.SIGTERM)
        with StopRequest() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGTERM) is handler))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
