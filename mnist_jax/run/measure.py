"""What training steps take: the memory of the compiled program, and the seconds of a few of them."""

import os
from dataclasses import dataclass
from typing import Any

import jax

from mnist_jax.training.compiled_steps import CompiledSteps
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.state import TrainState
from mnist_jax.training.steps_per_call import StepsPerCall

# The first call warms up, the second is measured.
_CALLS = 2


@dataclass(frozen=True)
class MeasuredSteps:
    """What some training steps took."""

    num_steps: int  # that were timed
    seconds_per_step: float  # of those
    compile_seconds: float  # tracing and compiling
    memory: dict[str, int]  # see `count_memory`
    state: TrainState  # after the steps, to see what evaluating it takes


def measure_steps(
    steps: CompiledSteps, steps_per_call: StepsPerCall, state: TrainState, log: EpochLog
) -> MeasuredSteps:
    """Compiles the steps and does two calls' worth of them; ``state`` and ``log`` are donated."""
    num_steps, seconds = steps_per_call.next(0), 0.0
    memory = count_memory(steps.program(state, log, num_steps))
    for _ in range(_CALLS):
        num_steps = steps_per_call.next(0)
        state, log, seconds = steps.run(state, log, num_steps)
        steps_per_call.measured(num_steps, seconds)
    return MeasuredSteps(num_steps, seconds / num_steps, steps.compile_seconds, memory, state)


def count_memory(program: Any) -> dict[str, int]:
    """Returns the bytes that a compiled program needs on each device: its arguments, what it adds, and both.

    Args:
        program: of ``jax.stages.Compiled``.
    """
    counted = program.memory_analysis()
    outputs = counted.output_size_in_bytes - counted.alias_size_in_bytes
    added = counted.temp_size_in_bytes + outputs + counted.generated_code_size_in_bytes
    arguments = counted.argument_size_in_bytes
    return {"arguments": int(arguments), "added": int(added), "total": int(arguments + added)}


def available_memory() -> int | None:
    """Returns the bytes that a device, or for CPU the machine, has for programs; None where none is told."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit is None and "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", ()):
        limit = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return limit
