"""What lies over a picture: bands of another polarity, bars, drawn lines, haze and blots."""

import jax.numpy as jnp
from jaxtyping import Array, Key

from mnist_jax.training.augment.disturbances.drawing import (
    Amounts,
    between,
    is_below,
    line_coordinates,
    texture,
)
from mnist_jax.training.augment.images import Images


def invert_band(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Inverts what lies on a band, or all that does not; wide ones reach over the image."""
    _, across = line_coordinates(amounts, images.shape)
    inside = jnp.abs(across) < min(images.shape[1:3]) * between(amounts, 3, 0.05, 0.5)
    return jnp.where(inside ^ is_below(amounts, 4), 1 - images, images)


def lay_bar(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Lays a bar of one tone across, of 1 to 6 pixels: drawn over the ink, or erasing it."""
    _, across = line_coordinates(amounts, images.shape)
    cover = jnp.clip(between(amounts, 3, 1.0, 3.5) - jnp.abs(across), 0, 1)
    return images + cover * (between(amounts, 4, 0.0, 1.0) - images)


def draw_line(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Draws a line across with a pen of 1 to 4 pixels: straight or in teeth, in one piece or in dashes."""
    along, across = line_coordinates(amounts, images.shape)
    tooth = 4 * jnp.abs((along / between(amounts, 3, 3.0, 12.0)) % 1 - 0.5) - 1
    # Half of the lines are straight.
    height = jnp.maximum(between(amounts, 4, -3.5, 3.5), 0)
    cover = jnp.clip(between(amounts, 5, 1.0, 2.2) - jnp.abs(across - height * tooth), 0, 1)
    is_drawn = (along / between(amounts, 6, 2.0, 8.0)) % 1 < between(amounts, 7, 0.4, 0.7)
    cover *= is_drawn | is_below(amounts, 8)
    return jnp.maximum(images, cover * between(amounts, 9, 0.5, 1.0))


def add_haze(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Blends with an uneven light, of which there is from 20 to 85%."""
    uneven = texture(key, between(amounts, 0, 0.3, 1.0), images.shape, (2, 4, 7, 14)) - 0.5
    light = between(amounts, 1, 0.0, 1.0) + between(amounts, 2, 0.0, 1.0) * uneven
    return jnp.clip(images + between(amounts, 3, 0.2, 0.85) * (light - images), 0, 1)


def add_blots(key: Key[Array, ""], amounts: Amounts, images: Images) -> Images:
    """Covers with patches of one tone, where a texture is high."""
    uneven = texture(key, between(amounts, 0, 0.3, 1.0), images.shape, (4, 7, 14))
    cover = jnp.clip(8 * (uneven - between(amounts, 1, 0.5, 0.85)), 0, 1)
    return images + cover * (between(amounts, 2, 0.0, 1.0) - images)
