"""What lies over a picture: light, stripes, fog and mud."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mnist_jax.corruptions.blur import gaussian_blur
from mnist_jax.corruptions.image import Image

_BRIGHTER = 0.5
_FOG, _FOG_DECAY, _FOG_SIZE = 3.0, 1.4, 256
_MUD_MEAN, _MUD_SD, _MUD_SIGMA, _MUD_LEVEL = 0.65, 0.3, 1.0, 0.65
_MUD_EDGE_SIGMA, _MUD_EDGE_LEVEL, _MUD_TONE = 1.5, 0.8, 63 / 255


def brightness(key: Key[Array, ""], image: Image) -> Image:
    """Adds the same to every pixel."""
    return jnp.clip(image + _BRIGHTER, 0, 1)


def stripe(key: Key[Array, ""], image: Image) -> Image:
    """Inverts the first and the last quarter of the columns."""
    column, width = jnp.arange(image.shape[1]), image.shape[1]
    return jnp.where((column < width // 4) | (column >= width - width // 4), 1 - image, image)


def fog(key: Key[Array, ""], image: Image) -> Image:
    """Lays a corner of a plasma fractal over the image, and scales both to the image's brightest tone."""
    plasma = plasma_fractal(key, _FOG_SIZE, _FOG_DECAY)[: image.shape[0], : image.shape[1]]
    brightest = image.max()
    return jnp.clip((image + _FOG * plasma) * brightest / (brightest + _FOG), 0, 1)


def plasma_fractal(key: Key[Array, ""], size: int, decay: float) -> Float[Array, "size size"]:
    """Makes a landscape by the diamond-square algorithm, on a torus.

    Heights between known ones are their mean and a random part, whose amplitude falls by the square of
    ``decay`` each time that the distance is halved (Fournier, Fussell and Carpenter 1982).

    Args:
        key: of the random parts.
        size: a power of two.
        decay: the larger, the smoother.

    Returns:
        heights, scaled to 0 to 1.
    """
    heights, step, wobble = jnp.zeros((size, size)), size, 100.0

    def near(total: Array, key: Array, wobble: float) -> Array:
        return total / 4 + wobble * jax.random.uniform(key, total.shape, minval=-wobble, maxval=wobble)

    while step >= 2:
        half = step // 2
        key, *keys = jax.random.split(key, 4)
        corners = heights[::step, ::step]
        rows = corners + jnp.roll(corners, -1, axis=0)
        centers = near(rows + jnp.roll(rows, -1, axis=1), keys[0], wobble)
        heights = heights.at[half::step, half::step].set(centers)
        # An edge's middle has the corners at its ends, and the centers on both sides.
        across = centers + jnp.roll(centers, 1, axis=0) + corners + jnp.roll(corners, -1, axis=1)
        heights = heights.at[::step, half::step].set(near(across, keys[1], wobble))
        along = centers + jnp.roll(centers, 1, axis=1) + corners + jnp.roll(corners, -1, axis=0)
        heights = heights.at[half::step, ::step].set(near(along, keys[2], wobble))
        step, wobble = half, wobble / decay
    heights -= heights.min()
    return heights / heights.max()


def spatter(key: Key[Array, ""], image: Image) -> Image:
    """Throws mud: gray drops where smoothed noise is high."""
    noise = _MUD_MEAN + _MUD_SD * jax.random.normal(key, image.shape)
    drops = gaussian_blur(noise, _MUD_SIGMA) > _MUD_LEVEL
    mud = gaussian_blur(drops.astype(image.dtype), _MUD_EDGE_SIGMA)
    mud = jnp.where(mud < _MUD_EDGE_LEVEL, 0, mud)
    return image * (1 - mud) + _MUD_TONE * mud
