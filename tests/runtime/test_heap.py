"""What is free goes back to the system, and threads share the heap."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_jax.runtime import heap

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc's heap")
MEGABYTE = 2**20


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_is_free_between_what_is_used_goes_back():
    # Larger than what Python keeps in pools of its own, smaller than what glibc maps by itself.
    blocks = [bytes(2000) for _ in range(50_000)]
    pins = blocks[::1000]
    taken = resident()
    del blocks
    heap.give_back()
    assert taken - resident() > 60 * MEGABYTE
    assert len(pins) == 50


THREADS = """
import threading
from mnist_jax.runtime.heap import use_few_arenas
use_few_arenas()
ready = threading.Barrier(9)
def hold():
    block = bytes(2000)
    ready.wait()
    ready.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads:
    thread.start()
ready.wait()
import ctypes
ctypes.CDLL(None).malloc_stats()
ready.wait()
"""


@pytest.mark.parametrize(("variables", "most"), [({}, 2), ({"MALLOC_ARENA_MAX": "1"}, 1)])
def test_threads_share_few_arenas_unless_the_environment_says_how_many(variables, most, monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    assert done.stderr.count("Arena ") <= most, done.stderr
