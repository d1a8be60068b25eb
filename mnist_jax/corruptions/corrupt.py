"""Every kind by its name, for many images at once."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, UInt8

from mnist_jax.corruptions import affine, blur, cover, edges, lines, noise
from mnist_jax.corruptions.image import Image

Corruption = Callable[[Key[Array, ""], Image], Image]

# In the order of the paper. Each takes a key and an image, 1 where there is ink, and gives another.
CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "shot_noise": noise.shot_noise,
        "impulse_noise": noise.impulse_noise,
        "glass_blur": blur.glass_blur,
        "motion_blur": blur.motion_blur,
        "shear": affine.shear,
        "scale": affine.scale,
        "rotate": affine.rotate,
        "brightness": cover.brightness,
        "translate": affine.translate,
        "stripe": cover.stripe,
        "fog": cover.fog,
        "spatter": cover.spatter,
        "dotted_line": lines.dotted_line,
        "zigzag": lines.zigzag,
        "canny_edges": edges.canny_edges,
    }
)

_AT_ONCE = 250  # images; the fog of one takes a quarter of a megabyte


def corrupt(name: str, images: UInt8[np.ndarray, "images 28 28 1"], seed: int = 0) -> np.ndarray:
    """Corrupts images, each with random numbers of its own.

    Args:
        name: a kind, of ``CORRUPTIONS``.
        images: as MNIST's: 0 is paper, 255 ink.
        seed: of the random numbers; they are the same for the i-th image, however many there are.

    Returns:
        uint8 of the same shape.

    Raises:
        KeyError: there is no such kind.
    """
    run, key = _compiled(name), jax.random.key(seed)
    corrupted = np.empty_like(images)
    for start in range(0, len(images), _AT_ONCE):
        # Always as many, so that one program does for all.
        rows = np.minimum(np.arange(start, start + _AT_ONCE), len(images) - 1)
        part = np.asarray(run(key, rows, images[rows, ..., 0]))
        corrupted[start : start + _AT_ONCE, ..., 0] = part[: len(images) - start]
    return corrupted


@functools.cache
def _compiled(name: str) -> Callable[..., Array]:
    corruption = CORRUPTIONS[name]

    def one(key: Array, index: Array, image: Array) -> Array:
        corrupted = corruption(jax.random.fold_in(key, index), image / jnp.float32(255))
        return jnp.round(jnp.clip(corrupted, 0, 1) * 255).astype(jnp.uint8)

    return jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))
