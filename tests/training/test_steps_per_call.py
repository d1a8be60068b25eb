"""Calls end where the host has something to do, cover every step once, and last about a second."""

from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.training.steps_per_call import StepsPerCall


def make_plan(**changes):
    defaults = {
        "steps_per_epoch": 937,
        "checkpoint_every_steps": 0,
        "steps_per_call": 0,
        "batch_size": 64,
        "adaptive": False,
    }
    return StepsPerCall(**{**defaults, **changes})


def ends(plan, total_steps, seconds_per_step=0.01, start=0):
    """The steps after which each call ended."""
    steps, step = [], start
    while step < total_steps:
        length = plan.next(step)
        assert length >= 1
        plan.measured(length, length * seconds_per_step)
        step += length
        steps.append(step)
    return steps


def test_a_call_is_an_epoch():
    assert ends(make_plan(), 3 * 937) == [937, 1874, 2811]


def test_a_fixed_length_stops_at_the_end_of_the_epoch():
    assert ends(make_plan(steps_per_epoch=10, steps_per_call=4), 20) == [4, 8, 10, 14, 18, 20]


def test_checkpoints_are_never_crossed():
    assert ends(make_plan(steps_per_epoch=10, checkpoint_every_steps=4), 20) == [4, 8, 10, 12, 16, 20]


def test_a_resumed_run_goes_on_to_the_next_stop():
    assert ends(make_plan(steps_per_epoch=10, checkpoint_every_steps=4), 20, start=5) == [8, 10, 12, 16, 20]


def test_the_first_adaptive_call_is_short_and_the_next_last_a_second():
    plan = make_plan(adaptive=True)
    assert plan.next(0) == 16
    plan.measured(16, 0.8)
    assert plan.next(16) == 20
    plan.measured(20, 10.0)
    assert plan.next(36) == 2
    plan.measured(2, 10.0)
    assert plan.next(38) == 1


def test_the_first_adaptive_call_does_one_step_of_a_huge_batch():
    assert make_plan(adaptive=True, batch_size=5000).next(0) == 1


@given(
    steps_per_epoch=st.integers(1, 50),
    num_epochs=st.integers(1, 4),
    checkpoint_every_steps=st.integers(0, 60),
    steps_per_call=st.integers(0, 60),
    adaptive=st.booleans(),
    seconds_per_step=st.floats(1e-6, 10),
)
def test_every_stop_is_met(
    steps_per_epoch, num_epochs, checkpoint_every_steps, steps_per_call, adaptive, seconds_per_step
):
    plan = make_plan(
        steps_per_epoch=steps_per_epoch,
        checkpoint_every_steps=checkpoint_every_steps,
        steps_per_call=steps_per_call,
        adaptive=adaptive,
    )
    total = steps_per_epoch * num_epochs
    stops = ends(plan, total, seconds_per_step)
    assert set(range(steps_per_epoch, total + 1, steps_per_epoch)) <= set(stops)
    if checkpoint_every_steps:
        assert set(range(checkpoint_every_steps, total + 1, checkpoint_every_steps)) <= set(stops)
    if steps_per_call:
        assert max(b - a for a, b in zip([0, *stops], stops, strict=False)) <= steps_per_call
