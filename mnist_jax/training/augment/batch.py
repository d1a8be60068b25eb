"""A batch changed at random, or left as it is where a run comes to its end."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Shaped

from mnist_jax.training.augment.images import Images

Labels = Shaped[Array, "batch ..."]


def change_batch(
    augment_fn: Callable[[Any, Array], Array] | None,
    draws: Any,
    images: Images,
    labels: Labels,
    is_changed: Bool[Array, ""] | None = None,
) -> tuple[Images, Labels]:
    """Changes images and, where they are mixed, labels.

    Args:
        augment_fn: see `draws.AugmentFn`; its method ``mix``, if any, follows. None changes nothing.
        draws: what it takes: a key, or what it drew.
        images: floating point.
        labels: int32 ``[batch]``, or float32 ``[batch, classes]``.
        is_changed: False gives back what was given, labels in the form of changed ones; None is True.
    """
    if augment_fn is None:
        return images, labels
    changed = augment_fn(draws, images)
    mix = getattr(augment_fn, "mix", None)
    changed, targets = mix(draws, changed, labels) if mix else (changed, labels)
    if is_changed is None:
        return changed, targets
    plain = jax.nn.one_hot(labels, targets.shape[-1]) if labels.ndim < targets.ndim else labels
    # By selection, for accelerators ask the host before they branch.
    return jnp.where(is_changed, changed, images), jnp.where(is_changed, targets, plain)
