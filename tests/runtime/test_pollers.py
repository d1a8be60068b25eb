"""Threads that wait for the network go last."""

import os
import select
import threading
import time
from pathlib import Path

import pytest

from mnist_jax.runtime.pollers import lower_poller_priority


@pytest.mark.skipif(not Path("/proc/self/syscall").exists(), reason="only Linux tells")
def test_only_a_thread_that_waits_for_the_network_is_lowered():
    reading, writing = os.pipe()
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with select.epoll() as poller:
        poller.register(reading, select.EPOLLIN)
        thread = threading.Thread(target=poller.poll, daemon=True)
        thread.start()
        call = Path(f"/proc/self/task/{thread.native_id}/syscall")
        while call.read_text().split()[0] not in ("22", "232", "281"):
            time.sleep(0.01)
        assert lower_poller_priority() >= 1
        assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == 19
        os.write(writing, b"x")
        thread.join()
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    os.close(reading)
    os.close(writing)
