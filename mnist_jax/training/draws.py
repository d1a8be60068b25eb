"""What a step draws at random: it depends on the run's key and the step alone, so it may be drawn ahead."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Int

# ``(key, images) -> images``. Where it has a method ``draw(key, shape)``, it takes its result for a key too;
# a method ``mix(drawn, images, labels) -> (images, labels)`` is called with the images that it returned.
AugmentFn = Callable[[Any, Array], Array]


class StepDraws(NamedTuple):
    """What a step takes from the run's key and its own number, and so may be drawn before the step's turn."""

    augment: Any  # what ``augment_fn`` takes: a key, or what it drew
    dropout: jax.Array  # a key


def draw_step(
    key: jax.Array, step: Int[Array, ""], image_batch_shape: tuple[int, ...], augment_fn: AugmentFn | None
) -> StepDraws:
    """Draws what `train_step` draws for a step, for images ``[B, H, W, C]`` of that shape."""
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, step))
    draw = getattr(augment_fn, "draw", None)
    return StepDraws(draw(augment_key, image_batch_shape) if draw else augment_key, dropout_key)
