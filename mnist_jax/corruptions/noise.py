"""Noise of single pixels."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mnist_jax.corruptions.image import Image

_PHOTONS = 3.0  # that a white pixel counts on average
_REPLACED = 0.17  # share of the pixels


def shot_noise(key: Key[Array, ""], image: Image) -> Image:
    """Counts few photons: each pixel is Poisson distributed about its value."""
    counts = jax.random.poisson(key, image * _PHOTONS)
    return jnp.clip(counts / _PHOTONS, 0, 1)


def impulse_noise(key: Key[Array, ""], image: Image) -> Image:
    """Salt and pepper: some pixels are replaced, by 0 or 1 alike."""
    replaced, salt = jax.random.split(key)
    impulses = jax.random.bernoulli(salt, shape=image.shape).astype(image.dtype)
    return jnp.where(jax.random.bernoulli(replaced, _REPLACED, image.shape), impulses, image)
