"""Threads of one process that take turns on a core."""

import os
import threading

import pytest

from mnist_jax.runtime.scheduling import take_turns

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has a policy for batches")


def test_a_thread_and_those_it_starts_take_turns():
    policies, allowed = [], []

    def note() -> None:
        policies.append(os.sched_getscheduler(0))

    def change() -> None:
        allowed.append(take_turns())
        note()
        inner = threading.Thread(target=note)
        inner.start()
        inner.join()

    outer = threading.Thread(target=change)
    outer.start()
    outer.join()
    if allowed == [False]:
        pytest.skip("this system does not let a process choose its policy")
    assert policies == [os.SCHED_BATCH, os.SCHED_BATCH]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_system_that_cannot_is_left_as_it_is(monkeypatch):
    monkeypatch.delattr(os, "SCHED_BATCH")
    assert not take_turns()
