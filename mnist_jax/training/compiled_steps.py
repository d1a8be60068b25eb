"""Many training steps in one call to the device: how many, compiled ahead of time, and timed."""

import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Shaped, UInt8

from mnist_jax.runtime.compilation import CompiledFunction
from mnist_jax.training.epoch import RunKeys
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.state import TrainState

# Long enough to hide the host's own work between two calls, short enough for a signal to be answered.
_SECONDS_PER_CALL = 1.0
_FIRST_IMAGES_PER_CALL = 1024


@dataclass
class StepsPerCall:
    """Decides how many steps the next call to the device does. The cuts never change what is computed."""

    steps_per_epoch: int  # a call never crosses the end of an epoch
    batch_size: int  # images a step
    checkpoint_every_steps: int = 0  # nor does a call cross a multiple of this, where it is above zero
    steps_per_call: int = 0  # a fixed length, or 0 to choose
    # Whether a chosen length follows the measured speed (about a second a call) or is the rest of the epoch.
    adaptive: bool = False
    _seconds_per_step: float = 0.0

    def next(self, step: int) -> int:
        """Returns the number of steps of the call that starts after ``step`` steps."""
        length = self.steps_per_epoch - step % self.steps_per_epoch
        if self.checkpoint_every_steps:
            length = min(length, self.checkpoint_every_steps - step % self.checkpoint_every_steps)
        if self.steps_per_call:
            return min(length, self.steps_per_call)
        return min(length, self._chosen_length()) if self.adaptive else length

    def measured(self, num_steps: int, seconds: float) -> None:
        """Takes note of how long a call took."""
        self._seconds_per_step = seconds / num_steps

    def _chosen_length(self) -> int:
        if self._seconds_per_step == 0.0:
            return max(1, _FIRST_IMAGES_PER_CALL // self.batch_size)
        return max(1, round(_SECONDS_PER_CALL / self._seconds_per_step))


@dataclass
class CompiledSteps:
    """Training steps over a data set that lives on the device.

    On an accelerator the number of steps is compiled in, so each length is a program of its own; on CPU it is
    an argument and one program does any number.
    """

    # Made of what ``epoch.jit_train_steps`` or its counterpart for members returns.
    function: CompiledFunction
    images: UInt8[Array | np.ndarray, "examples height width channels"]  # on the device, as the labels
    labels: Shaped[Array | np.ndarray, "examples ..."]  # int32 ``[N]`` or float32 ``[N, classes]``
    keys: RunKeys  # of the run; with a leading axis of members where several are trained side by side
    static_length: bool  # whether the number of steps is compiled in

    @property
    def compile_seconds(self) -> float:
        """Tracing and compiling so far."""
        return self.function.compile_seconds

    def program(self, state: TrainState, log: EpochLog, num_steps: int) -> Any:
        """Returns the compiled program that `run` calls for the same arguments."""
        static = {"num_steps": num_steps} if self.static_length else {}
        return self.function.compiled(*self._arguments(state, log, num_steps), **static)

    def run(self, state: TrainState, log: EpochLog, num_steps: int) -> tuple[TrainState, EpochLog, float]:
        """Does steps and waits for the device; ``state`` and ``log`` are donated.

        Returns:
            the next state and log, and the seconds the device took, compilation not counted.
        """
        program = self.program(state, log, num_steps)
        arguments = self._arguments(state, log, num_steps)
        started = time.perf_counter()
        state, log = jax.block_until_ready(program(*arguments))
        return state, log, time.perf_counter() - started

    def _arguments(self, state: TrainState, log: EpochLog, num_steps: int) -> tuple[Any, ...]:
        arguments = (state, log, self.images, self.labels, self.keys)
        return arguments if self.static_length else (*arguments, np.int32(num_steps))
