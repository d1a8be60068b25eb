"""The sums of each step of an epoch, kept on the device."""

from typing import Any, no_type_check

import flax.struct
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from mnist_jax.metrics.sums import Metrics


# JAX builds it anew with anything for leaves (shapes, shardings, None), which no check may refuse.
@no_type_check
@flax.struct.dataclass
class EpochLog:
    """The sums of each step of the epoch under way.

    Carried through the steps on the device, read by the host between calls. One entry a step, whatever the
    number of steps in a call, makes everything derived from it independent of how a run was cut, and lets a
    step whose loss is not finite be named.
    """

    loss_sum: Float[Array, "... steps"]  # float32, cross-entropy summed over the batch, in nats
    num_correct: Int[Array, "... steps"]  # int32

    @classmethod
    def empty(cls, steps_per_epoch: int) -> "EpochLog":
        """Room for one epoch."""
        return cls(jnp.zeros(steps_per_epoch, jnp.float32), jnp.zeros(steps_per_epoch, jnp.int32))

    @classmethod
    def on_host(cls, steps_per_epoch: int) -> "EpochLog":
        """The same as NumPy arrays, to be put on devices: zeros of jax.numpy are programs to compile."""
        zeros = [np.zeros(steps_per_epoch, dtype) for dtype in (np.float32, np.int32)]
        return cls(*zeros)  # type: ignore[arg-type]

    def record(self, index: Int[Array, ""], metrics: Metrics) -> "EpochLog":
        """Fills the entry of a step, counted from the start of the epoch."""
        return EpochLog(
            self.loss_sum.at[index].set(metrics.loss_sum), self.num_correct.at[index].set(metrics.num_correct)
        )

    def record_steps(self, first: Int[Array, ""], sums: Float[Array, "steps 2"]) -> "EpochLog":
        """Fills those of several steps from one on; ``sums`` are their losses and hits (`side_by_side`)."""
        columns = sums[:, 0], sums[:, 1].astype(jnp.int32)
        logs = self.loss_sum, self.num_correct
        return EpochLog(
            *(lax.dynamic_update_slice(log, new, (first,)) for log, new in zip(logs, columns, strict=True))
        )


def side_by_side(state: Any, metrics: Metrics) -> tuple[Any, Float[Array, "2"]]:
    """Puts a step's sums into one float32 array, for one kernel to write; hits are exact up to 2^24."""
    return state, jnp.stack([metrics.loss_sum, metrics.num_correct.astype(jnp.float32)])
