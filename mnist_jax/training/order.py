"""The order in which an epoch takes the examples."""

import functools

import jax
from jaxtyping import Array, Int


def epoch_order(shuffle_key: jax.Array, epoch: Array | int, num_examples: int) -> Int[Array, " num_examples"]:
    """The order of the examples in an epoch: a function of the seed and the epoch alone."""
    return jax.random.permutation(jax.random.fold_in(shuffle_key, epoch), num_examples)


@functools.partial(jax.jit, static_argnames="num_examples")
def draw_order(
    shuffle_keys: jax.Array, epoch: Int[Array, ""], num_examples: int
) -> Int[Array, "*members num_examples"]:
    """Draws `epoch_order`, for each of several keys side by side too."""
    if shuffle_keys.ndim:
        return jax.vmap(epoch_order, (0, None, None))(shuffle_keys, epoch, num_examples)
    return epoch_order(shuffle_keys, epoch, num_examples)
