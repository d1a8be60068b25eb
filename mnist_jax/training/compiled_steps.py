"""Many training steps in one call to the device, compiled ahead of time, and timed."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Shaped, UInt8

from mnist_jax.runtime.compilation import CompiledFunction
from mnist_jax.training.epoch import RunKeys
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.order import draw_order
from mnist_jax.training.state import TrainState


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
    _epoch: int = field(default=-1, init=False)  # whose order ``keys`` have

    @property
    def compile_seconds(self) -> float:
        """Tracing and compiling so far."""
        return self.function.compile_seconds

    def program(self, state: TrainState, log: EpochLog, num_steps: int) -> Any:
        """Returns the compiled program that `run` calls for the same arguments."""
        return self._program(self._arguments(state, log, num_steps), num_steps)

    def run(self, state: TrainState, log: EpochLog, num_steps: int) -> tuple[TrainState, EpochLog, float]:
        """Does steps and waits for the device; ``state`` and ``log`` are donated.

        Returns:
            the next state and log, and the seconds the device took, compilation not counted.
        """
        started = time.perf_counter()
        arguments = self._arguments(state, log, num_steps)
        drawn = time.perf_counter() - started
        program = self._program(arguments, num_steps)
        started = time.perf_counter()
        state, log = jax.block_until_ready(program(*arguments))
        return state, log, drawn + time.perf_counter() - started

    def _program(self, arguments: tuple[Any, ...], num_steps: int) -> Any:
        static = {"num_steps": num_steps} if self.static_length else {}
        return self.function.compiled(*arguments, **static)

    def _arguments(self, state: TrainState, log: EpochLog, num_steps: int) -> tuple[Any, ...]:
        if self.static_length:
            return state, log, self.images, self.labels, self.keys
        self._draw_order(state, log)
        return state, log, self.images, self.labels, self.keys, np.int32(num_steps)

    def _draw_order(self, state: TrainState, log: EpochLog) -> None:
        # Once an epoch, not in each of its calls: on a CPU it takes as long as some steps, or many.
        epoch = int(np.asarray(state.step).flat[0]) // log.loss_sum.shape[-1]
        if epoch != self._epoch:
            order = draw_order(self.keys.shuffle, np.int32(epoch), len(self.images))
            # Keys that no device was chosen for leave the program free, and so must the order.
            sharding = self.keys.shuffle.sharding
            if not order.sharding.is_equivalent_to(sharding, order.ndim):
                order = jax.device_put(order, sharding)
            self.keys = replace(self.keys, order=order)
            self._epoch = epoch
