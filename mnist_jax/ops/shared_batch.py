"""Sums over a batch that several devices share, each with its own rows (``jax.shard_map``)."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

AXIS = "data"  # of the mesh: the devices that share a batch


def num_sharing() -> int:
    """Returns how many devices share the batch that is being traced; 1 where no function of rows is."""
    try:
        return lax.axis_size(AXIS)
    except NameError:  # the axis is not bound: the arrays are whole batches, however they are spread
        return 1


def mean_over_devices(*arrays: Float[Array, "..."]) -> tuple[Float[Array, "..."], ...]:
    """Averages arrays of one shape over the devices that share a batch, in one message.

    Where none is shared they are returned as they are.
    """
    if num_sharing() == 1:
        return arrays
    return tuple(lax.pmean(jnp.stack(arrays), AXIS))
