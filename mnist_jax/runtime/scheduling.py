"""How the threads of a process share its cores."""

import contextlib
import os


def take_turns() -> bool:
    """Keeps this thread, and all it starts from now on, from being interrupted when another of them wakes.

    Where a message has come, Gloo's thread that receives wakes, and on a core it shares the kernel would
    let it interrupt the one that computes. If that one holds the connection's lock, Gloo's polls it until
    its slice of time ends (``Pair::handleEvents`` in its transport/tcp/pair.cc), and a small all-reduce takes
    milliseconds. Linux' policy for batches lets whoever computes go on until it waits or its slice ends.

    Returns:
        whether the system can do so.
    """
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        return True
    return False
