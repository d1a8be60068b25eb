"""The gradient of a batch that devices share, with as few messages between them as it takes.

Left to itself XLA sums each array where it arises, and on CPUs each in messages of its own, even where one
all-reduce has several: 131 arrays a step of the default network. Here a device computes with its own rows.
Only what BatchNorm needs is summed on the way, once a layer forward and once backward; all else is summed at
the end, as one vector.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from mnist_jax.metrics.sums import Metrics
from mnist_jax.ops.random_rows import can_start_at_a_row, start_at_row
from mnist_jax.ops.shared_batch import AXIS, num_sharing
from mnist_jax.training.groups import map_names, matches_any

# ``(params, images, labels) -> (gradient of the mean loss, (sums of the batch, new BatchNorm statistics))``.
GradientFn = Callable[[PyTree, Array, Array], tuple[PyTree, tuple[Metrics, PyTree]]]


def share_batch(
    sharding: NamedSharding | None, frozen: Sequence[str] = ()
) -> Callable[[GradientFn], GradientFn]:
    """Returns what makes of a gradient function for one device one for rows that are spread over several.

    The results are the same up to rounding, for networks that sum over the batch in ``ops.batch_norm`` only.
    An ``nn.Dropout`` drops what it would of the whole batch.

    Args:
        sharding: of images and labels, along the axis ``data`` of its mesh; None leaves a function as it is.
        frozen: patterns (`groups.matches`) of parameters whose gradients nobody needs: they are 0.
    """
    return (
        functools.partial(_shared, sharding=sharding, frozen=frozen)
        if sharding
        else lambda function: function
    )


def _shared(gradient_fn: GradientFn, sharding: NamedSharding, frozen: Sequence[str]) -> GradientFn:
    def of_own_rows(params: PyTree, images: Array, labels: Array) -> tuple[PyTree, tuple[Metrics, PyTree]]:
        with nn.intercept_methods(_drop_own_rows):
            gradient, (metrics, batch_stats) = gradient_fn(params, images, labels)
        needed = map_names(lambda name, leaf: None if matches_any(name, frozen) else leaf, gradient)
        vector, unravel = ravel_pytree((needed, metrics))
        needed, metrics = unravel(lax.psum(vector, AXIS))
        gradient = jax.tree.map(
            lambda leaf, total: jnp.zeros_like(leaf) if total is None else total / num_sharing(),
            params,
            needed,
        )
        return gradient, (metrics, batch_stats)

    everywhere, rows = PartitionSpec(), sharding.spec
    return jax.shard_map(
        of_own_rows,
        mesh=sharding.mesh,
        in_specs=(everywhere, rows, rows),
        out_specs=everywhere,
        check_vma=False,
    )


def _drop_own_rows(
    next_fun: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """Has an ``nn.Dropout`` drop of this device's rows what it would drop of them in the whole batch."""
    if not isinstance(context.module, nn.Dropout) or context.method_name != "__call__":
        return next_fun(*args, **kwargs)
    own, first = args[0], lax.axis_index(AXIS) * len(args[0])
    if can_start_at_a_row(key := context.module.make_rng(context.module.rng_collection)):
        return next_fun(*args, **kwargs, rng=start_at_row(key, first))
    # Any other generator draws for all rows.
    whole = next_fun(jnp.concatenate([own] * num_sharing()), *args[1:], **kwargs, rng=key)
    return lax.dynamic_slice_in_dim(whole, first, len(own))
