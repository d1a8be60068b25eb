"""Brightness of pixels: contrast and noise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mnist_jax.training.augment.images import Images


@jax.named_scope("augment_batch")
def change_contrast(images: Images, factors: Float[Array, " batch"]) -> Images:
    """Multiplies each pixel's distance from the mean of its image and channel, and clips to [0, 1].

    Source: ``tf.image.adjust_contrast``.
    """
    mean = jnp.mean(images, axis=(1, 2), keepdims=True)
    return jnp.clip(mean + factors.reshape(-1, 1, 1, 1) * (images - mean), 0.0, 1.0)


@jax.named_scope("augment_batch")
def add_noise(key: Key[Array, ""], images: Images, stddevs: Float[Array, " batch"]) -> Images:
    """Adds independent normal noise of its own standard deviation to each image, and clips to [0, 1]."""
    noise = jax.random.normal(key, images.shape, images.dtype)
    return jnp.clip(images + stddevs.reshape(-1, 1, 1, 1) * noise, 0.0, 1.0)
