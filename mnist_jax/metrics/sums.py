"""Metrics as sums and counts: added on the device, divided once on the host."""

import flax.struct
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int


def count_confusions(
    labels: Int[Array | np.ndarray, " examples"],
    predicted: Int[Array | np.ndarray, " examples"],
    num_classes: int,
    mask: Bool[Array, " examples"] | None = None,
) -> Int[Array, "classes classes"]:
    """Counts examples by true class (rows) and predicted class (columns), int32; traced or not.

    Examples whose ``mask`` is False are not counted.
    """
    counts = jnp.zeros((num_classes, num_classes), jnp.int32)
    return counts.at[labels, predicted].add(1 if mask is None else mask.astype(jnp.int32))


@flax.struct.dataclass
class Metrics:
    """Sums over the examples of a batch."""

    loss_sum: Float[Array, ""]  # float32 scalar, cross-entropy summed over examples, in nats
    num_correct: Int[Array, ""]  # int32 scalar

    @classmethod
    def from_batch(cls, losses: Float[Array, " batch"], correct: Bool[Array, " batch"]) -> "Metrics":
        """Sums one batch of per-example losses and hits."""
        return cls(jnp.sum(losses), jnp.sum(correct, dtype=jnp.int32))


@flax.struct.dataclass
class EvaluationSums:
    """Sums of one pass over a data set."""

    loss_sum: Float[Array, ""]  # float32 scalar, cross-entropy summed over examples, in nats
    confusion: Int[Array, "classes classes"]  # int32, rows are true classes, columns predicted ones

    @classmethod
    def empty(cls, num_classes: int) -> "EvaluationSums":
        """The neutral element of :meth:`merge`."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((num_classes, num_classes), jnp.int32))

    @classmethod
    def from_logits(
        cls, logits: Float[Array, "batch classes"], labels: Int[Array, " batch"], mask: Bool[Array, " batch"]
    ) -> "EvaluationSums":
        """Sums one batch; rows where ``mask`` is False are padding and are not counted."""
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        confusion = count_confusions(labels, jnp.argmax(logits, axis=-1), logits.shape[1], mask)
        return cls(jnp.sum(jnp.where(mask, losses, 0.0)), confusion)

    def merge(self, other: "EvaluationSums") -> "EvaluationSums":
        """Adds two disjoint sets of examples."""
        return EvaluationSums(self.loss_sum + other.loss_sum, self.confusion + other.confusion)
