"""What moves pixels: fields of displacements, float32 ``[batch, 2, height, width]``, rows and columns."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mnist_jax.training.augment.disturbances.drawing import Amounts, between
from mnist_jax.training.augment.images import Images

Field = Float[Array, "batch 2 height width"]


def shake(key: Key[Array, ""], amounts: Amounts, images: Images) -> Field:
    """Takes each pixel from a place of its own, 0.3 to 1.3 pixels away, as behind rough glass."""
    batch, height, width = images.shape[:3]
    return between(amounts, 0, 0.3, 1.3) * jax.random.normal(key, (batch, 2, height, width))


def warp_widely(key: Key[Array, ""], amounts: Amounts, images: Images) -> Field:
    """Turns by up to 29 degrees, shears by 24, shifts by 15%, enlarges to 1.4 times or shrinks to 0.55."""
    height, width = images.shape[1:3]

    def draw(index: int, low: float, high: float) -> Array:
        return between(amounts, index, low, high)[..., 0]

    angle, slant, zoom = draw(0, -0.5, 0.5), draw(1, -0.45, 0.45), draw(2, -0.2, 0.45)
    rows = (jnp.arange(height) - (height - 1) / 2)[:, None]
    columns = jnp.arange(width) - (width - 1) / 2
    y, x = jnp.exp(zoom) * rows, jnp.exp(zoom + draw(3, -0.15, 0.15)) * (columns + slant * rows)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    down = sin * x + cos * y - rows + height * draw(4, -0.15, 0.15)
    right = cos * x - sin * y - columns + width * draw(5, -0.15, 0.15)
    return jnp.stack([down, right], axis=1)
