"""Which images of a batch are disturbed, and by which kind.

Each kind is given its own part of the batch, so that all kinds together cost a step as much as one of them.
Where the first part begins is drawn.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from mnist_jax.training.augment.disturbances import covers, moves, pixels
from mnist_jax.training.augment.disturbances.drawing import NUM_AMOUNTS, Amounts
from mnist_jax.training.augment.images import Images

Disturbance = Callable[[Key[Array, ""], Amounts, Images], Array]

# Displacements, which are added to those of the warp.
MOVES: Mapping[str, Disturbance] = MappingProxyType({"warp_widely": moves.warp_widely, "shake": moves.shake})
# Changed images; what is shaken is softened afterwards.
CHANGES: Mapping[str, Disturbance] = MappingProxyType(
    {
        "shake": pixels.soften,
        "keep_outlines": pixels.keep_outlines,
        "blur": pixels.blur,
        "change_tones": pixels.change_tones,
        "add_grain": pixels.add_grain,
        "lose_pixels": pixels.lose_pixels,
        "invert_band": covers.invert_band,
        "lay_bar": covers.lay_bar,
        "draw_line": covers.draw_line,
        "add_haze": covers.add_haze,
        "add_blots": covers.add_blots,
    }
)
KINDS = tuple({**MOVES, **CHANGES})


class DisturbanceDraws(NamedTuple):
    """What is drawn for a batch."""

    first: Int[Array, ""]  # the image that the parts begin with; after the last comes image 0
    amounts: Amounts
    key: Key[Array, ""]  # of what differs from pixel to pixel


def draw_disturbances(key: Key[Array, ""], batch_size: int) -> DisturbanceDraws:
    """Draws for a batch."""
    first_key, amounts_key, pixel_key = jax.random.split(key, 3)
    amounts = jax.random.uniform(amounts_key, (batch_size, NUM_AMOUNTS))
    return DisturbanceDraws(jax.random.randint(first_key, (), 0, batch_size), amounts, pixel_key)


def parts(batch_size: int, share: float) -> dict[str, slice]:
    """Divides the first ``share`` of a batch among the kinds, as evenly as can be."""
    count = round(share * batch_size)
    cuts = [round(count * i / len(KINDS)) for i in range(len(KINDS) + 1)]
    return {name: slice(*cuts[i : i + 2]) for i, name in enumerate(KINDS)}


def disturbing_fields(
    draws: DisturbanceDraws, images: Images, share: float
) -> Float[Array, "batch 2 height width"]:
    """Returns the displacements of images that begin with the first; 0 where they are not to be moved."""
    fields = jnp.zeros((images.shape[0], 2, *images.shape[1:3]))
    for part, moved in _apply(MOVES, draws, images, share):
        fields = fields.at[part].set(moved)
    return lax.optimization_barrier(fields)


@jax.named_scope("augment_batch")
def disturb(draws: DisturbanceDraws, images: Images, share: float) -> Images:
    """Changes images that begin with the first, each by the kind of its part of the batch, if any."""
    # Else what came before would be computed again wherever a kind reads a pixel.
    images = lax.optimization_barrier(images)
    result = images
    for part, changed in _apply(CHANGES, draws, images, share):
        result = result.at[part].set(changed)
    return result


def _apply(
    kinds: Mapping[str, Disturbance], draws: DisturbanceDraws, images: Images, share: float
) -> Iterator[tuple[slice, Array]]:
    for index, (name, part) in enumerate(parts(images.shape[0], share).items()):
        if name in kinds and part.start < part.stop:
            key = jax.random.fold_in(draws.key, index)
            yield part, lax.optimization_barrier(kinds[name](key, draws.amounts[part], images[part]))
