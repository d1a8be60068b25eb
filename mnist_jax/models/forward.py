"""The function that computes a network, as the device at hand likes it."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from mnist_jax.ops.cpu_lowering import lower_for_cpu


@functools.lru_cache(maxsize=16)
def forward_fn(model: nn.Module) -> Callable[..., Any]:
    """Returns ``model.apply``, or for a network of a person's own on a CPU a faster function that equals it.

    The networks of this package choose their convolutions themselves; others ask for XLA's, which
    `lower_for_cpu` replaces. Equal networks get the same function, as ``jax.jit`` expects of what is static.

    Args:
        model: called as ``model(images, train=...)``.

    Returns:
        a function ``(variables, images, rngs=None, **static)`` of what ``model.apply`` takes and gives.
    """
    if type(model).__module__.startswith("mnist_jax.") or jax.default_backend() != "cpu":
        return model.apply

    def forward(variables: Any, images: jax.Array, rngs: Any = None, **static: Any) -> Any:
        def apply(variables: Any, images: jax.Array, rngs: Any) -> Any:
            return model.apply(variables, images, rngs=rngs, **static)

        return lower_for_cpu(apply)(variables, images, rngs)

    return forward
