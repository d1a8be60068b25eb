"""Lines drawn across a picture."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Key

from mnist_jax.corruptions.image import Image

_SIZE = 28
_REACH = 2.3  # pixels above and below, where a line has faded
_STEP = 2.0  # half the length of a tooth, and its height
_FIRST, _LAST = 2, 25  # columns of a zigzag


def dotted_line(key: Key[Array, ""], image: Image) -> Image:
    """Draws a line from the left to the right border, of which two columns are left out and two drawn."""
    start, end = jax.random.randint(key, (2,), 0, _SIZE - 1)
    drawn = line(0, start, _SIZE - 1, end)
    return jnp.clip(image + jnp.where(np.arange(_SIZE) // 2 % 2, drawn, 0), 0, 1)


def zigzag(key: Key[Array, ""], image: Image) -> Image:
    """Draws teeth of two pixels about a line that falls or rises by at most five."""
    first, second = jax.random.split(key)
    row = jax.random.randint(first, (), 0, _SIZE - 1).astype(jnp.float32)
    rise = jax.random.randint(second, (), -5, 5).astype(jnp.float32)
    angle = jnp.arctan(rise / (_LAST - _FIRST))
    # The line is between 23 and 23.6 pixels long, so it always has six tips.
    length = (_LAST - _FIRST) / jnp.cos(angle)
    tips = np.arange(6)
    heights = np.where(tips % 2, -_STEP, _STEP)
    end = heights[-1] / (2 * (length - 2 * _STEP * ((_LAST - _FIRST) // (2 * _STEP))))
    along = jnp.concatenate([jnp.array([0.0]), (2 * tips + 1) * _STEP, length[None]])
    above = jnp.concatenate([jnp.array([0.0]), jnp.asarray(heights, jnp.float32), end[None]])
    columns = _FIRST + along * jnp.cos(angle) - above * jnp.sin(angle)
    rows = row + along * jnp.sin(angle) + above * jnp.cos(angle)
    for i in range(1, len(tips) + 2):
        image = jnp.clip(image + line(columns[i - 1], rows[i - 1], columns[i], rows[i]), 0, 1)
    return image


def line(column_0: ArrayLike, row_0: ArrayLike, column_1: ArrayLike, row_1: ArrayLike) -> Image:
    """Draws a line between two points, the second to the right of the first, 1 in its middle.

    Above and below it fades as ``1 + log(1 - distance / 2.3)``, down to 0.
    """
    columns, rows = np.arange(_SIZE), np.arange(_SIZE)[:, None]
    slope = (row_1 - jnp.asarray(row_0)) / (column_1 - jnp.asarray(column_0))
    distance = jnp.abs(rows - (slope * (columns - column_0) + row_0))
    drawn = 1 + jnp.log1p(-jnp.minimum(distance, _REACH - 1e-6) / _REACH)
    is_between = (columns >= jnp.floor(column_0)) & (columns < jnp.ceil(column_1))
    return jnp.where(is_between, jnp.clip(drawn, 0, 1), 0)
