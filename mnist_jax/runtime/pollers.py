"""The priority of the threads that wait for the network."""

import contextlib
import os
from pathlib import Path

# What the kernel calls epoll_wait on x86-64, and epoll_pwait there and on ARM.
_WAITING = {("x86_64", "232"), ("x86_64", "281"), ("aarch64", "22")}
_LOWEST = 19


def lower_poller_priority() -> int:
    """Lets every other thread go before those of this process that wait for the network.

    Where a message has come, but the thread that is to have it holds the connection's lock, Gloo's polls
    again and again (``Pair::handleEvents`` in its transport/tcp/pair.cc). Where cores are few it keeps that
    very thread from running, and a small all-reduce takes milliseconds. At the lowest priority it runs
    when a core has nothing else to do. Call it when the processes are connected.

    Returns:
        how many threads; 0 where the system does not say what a thread waits for.
    """
    lowered = 0
    machine = os.uname().machine if hasattr(os, "uname") else ""
    for thread in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):
            call = (thread / "syscall").read_text().split()[0]
            if (machine, call) in _WAITING:
                os.setpriority(os.PRIO_PROCESS, int(thread.name), _LOWEST)
                lowered += 1
    return lowered
