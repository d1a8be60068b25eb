"""What happens to the pixels themselves: tones, noise, blur, and strokes of which the outline is left."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mnist_jax.training.augment.disturbances.drawing import Amounts, PerImage, between, is_below
from mnist_jax.training.augment.images import Images
from mnist_jax.training.augment.thickness import dilate


def change_tones(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Bends tones by a power, then scales and raises them; a quarter of the images are inverted."""
    bent = images ** jnp.exp(between(amounts, 0, -0.7, 0.7))
    toned = jnp.clip(between(amounts, 1, -0.2, 0.7) + between(amounts, 2, 0.25, 1.4) * bent, 0, 1)
    return jnp.where(is_below(amounts, 3, 0.25), 1 - toned, toned)


def add_grain(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Adds normal noise of a deviation up to 0.6, on half of the images to the ink alone."""
    deviations = between(amounts, 0, 0.0, 0.6) * jnp.where(is_below(amounts, 1), 1, jnp.sqrt(images))
    return jnp.clip(images + deviations * jax.random.normal(key, images.shape), 0, 1)


def lose_pixels(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Sets up to 35% of the pixels to 0 or 1, with even odds."""
    drawn, rate = jax.random.uniform(key, images.shape), between(amounts, 0, 0.0, 0.35)
    return jnp.where(drawn < rate / 2, 0.0, jnp.where(drawn > 1 - rate / 2, 1.0, images))


def blur(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Blurs by Gaussians of 0.5 to 2.7 pixels, another along the rows than along the columns."""
    return _convolve(images, *(jnp.exp(between(amounts, i, -0.7, 1.0)) for i in (0, 1)))


def soften(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Blurs by a Gaussian of 0.2 to 1.2 pixels."""
    deviations = between(amounts, 1, 0.2, 1.2)
    return _convolve(images, deviations, deviations)


def _convolve(images: Images, down: PerImage, right: PerImage) -> Images:
    images = jnp.einsum("bij,bjkc->bikc", _gaussians(images.shape[1], down), images)
    return jnp.einsum("bij,bkjc->bkic", _gaussians(images.shape[2], right), images)


def _gaussians(size: int, deviations: PerImage) -> Float[Array, "batch {size} {size}"]:
    """Convolutions as matrices; their rows' sums are 1 at the border too."""
    away = jnp.arange(size)[:, None] - jnp.arange(size)
    weights = jnp.exp(-0.5 * (away / deviations[..., 0]) ** 2)
    return weights / weights.sum(-1, keepdims=True)


def keep_outlines(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Leaves the outlines of strokes: where a dilation adds to them, or what an erosion takes away."""
    ink = between(amounts, 0, 2.0, 10.0) * (images - between(amounts, 1, 0.15, 0.7)) + 0.5
    ink = jnp.clip(ink, 0, 1)
    return jnp.where(is_below(amounts, 2), dilate(ink) - ink, ink + dilate(-ink))
