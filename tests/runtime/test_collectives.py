"""What several processes agree on, with the other processes played by the test."""

import signal

import numpy as np
import pytest

from mnist_jax.errors import CheckpointError, ConfigError, RunError
from mnist_jax.run import loop
from mnist_jax.runtime import collectives
from mnist_jax.runtime.collectives import (
    broadcast_from_primary,
    check_equal,
    exchange,
    gather,
    on_primary,
    raise_together,
)
from mnist_jax.runtime.signals import StopRequest


def test_a_single_process_agrees_with_itself():
    np.testing.assert_array_equal(gather(1.5, 2), [[1.5, 2]])
    with pytest.raises(ValueError, match="no numbers"):
        gather()
    assert on_primary(lambda: {"a": 1}) == {"a": 1}
    tree = {"a": object()}
    assert broadcast_from_primary(tree) is tree
    check_equal("text", "the images")
    assert exchange(b"bytes") == [b"bytes"]
    raise_together(None, "saving")
    with pytest.raises(CheckpointError, match="full"):
        raise_together(CheckpointError("full"), "saving")


def test_bytes_of_any_length_are_exchanged(monkeypatch):
    others = {np.dtype(np.int32): np.int32(3000), np.dtype(np.uint8): np.full(4096, 7, np.uint8)}
    sizes = []

    def gathered(array):
        sizes.append(array.size)
        return np.stack([array, others[array.dtype]])

    monkeypatch.setattr(collectives, "is_multiprocess", lambda: True)
    monkeypatch.setattr(collectives.multihost_utils, "process_allgather", gathered)
    assert exchange(b"") == [b"", b"\7" * 3000]
    assert exchange(bytes(range(256))) == [bytes(range(256)), b"\7" * 3000]
    assert sizes == [1, 4096] * 2


@pytest.fixture
def of_two(monkeypatch):
    """Two processes, this one being the given number; what the first one sends is kept in a list."""

    def be(index, sent):
        monkeypatch.setattr(collectives, "is_multiprocess", lambda: True)
        monkeypatch.setattr(collectives.jax, "process_index", lambda: index)

        def broadcast(content):
            if index == 0:
                sent.append(content)
            return sent[-1]

        monkeypatch.setattr(collectives, "_broadcast", broadcast)

    return be


def raising(error):
    raise error


@pytest.mark.parametrize(
    "error", [ConfigError(["a: wrong", "b: wrong"]), RunError("in use"), CheckpointError("newer")]
)
def test_what_the_first_process_raises_all_raise(of_two, error):
    sent = []
    of_two(0, sent)
    with pytest.raises(type(error)) as first:
        on_primary(lambda: raising(error))
    of_two(1, sent)
    with pytest.raises(type(error)) as second:
        on_primary(lambda: pytest.fail("only the first process does it"))
    assert first.value is error and str(second.value) == str(error)
    assert second.value.exit_code == error.exit_code


def test_what_the_first_process_gives_all_get(of_two):
    sent = []
    for index in (0, 1):
        of_two(index, sent)
        assert on_primary(lambda: {"final_step": 3, "best": None}) == {"final_step": 3, "best": None}


def test_a_failure_elsewhere_is_raised_here(monkeypatch):
    monkeypatch.setattr(collectives, "is_multiprocess", lambda: True)
    monkeypatch.setattr(collectives, "gather", lambda *numbers: np.array([[0.0], [1.0]]))
    with pytest.raises(RunError, match="saving checkpoint 3 failed in process 1"):
        raise_together(None, "saving checkpoint 3")


def test_a_signal_that_came_while_agreeing_is_for_the_next_time(monkeypatch):
    """The others have not heard of it: to stop for it now would leave them alone in the next step."""
    stop = StopRequest()
    monkeypatch.setattr(loop, "is_multiprocess", lambda: True)

    def while_gathering(*numbers):
        rows = np.array([numbers, numbers], np.float32)
        stop.request(signal.SIGTERM)
        return rows

    monkeypatch.setattr(loop, "gather", while_gathering)
    assert loop._agree(stop, 1.0, 2.0) == (1.0, 2.0, False)
    assert loop._agree(stop, 1.0, 2.0) == (1.0, 2.0, True)
    assert stop.exit_code == 143


def test_a_signal_of_another_process_is_everyones(monkeypatch):
    stop = StopRequest()
    monkeypatch.setattr(loop, "is_multiprocess", lambda: True)
    monkeypatch.setattr(loop, "gather", lambda *numbers: np.array([[3, 4, 0], [5, 6, signal.SIGINT]]))
    assert loop._agree(stop, 1.0, 2.0) == (3.0, 4.0, True)
    assert stop.exit_code == 130
