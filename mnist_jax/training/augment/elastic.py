"""Elastic distortion: a smooth random field of displacements.

Source: Simard, Steinkraus and Platt, Best Practices for Convolutional Neural Networks Applied to Visual
Document Analysis, 2003, section 2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key


@jax.named_scope("augment_batch")
def random_fields(
    key: Key[Array, ""], shape: tuple[int, ...], *, alpha: float, sigma: float
) -> Float[Array, "batch 2 height width"]:
    """Draws how many rows and columns from its own place each pixel of a batch comes from.

    Each displacement is uniform in ±1, then all of an image are convolved with a Gaussian, 0 beyond the
    border, and multiplied.

    Args:
        key: typed key.
        shape: of the images, ``[batch, height, width, ...]``.
        alpha: factor; Simard et al. take 34 for digits of 29 x 29 pixels.
        sigma: standard deviation of the Gaussian, pixels; Simard et al. take 4. Far from the border the root
            mean square of the displacements along an axis is alpha / (sigma * sqrt(12 * pi)), 1.4 pixels.

    Returns:
        Float32, pixels: along the rows, then along the columns.
    """
    height, width = shape[1:3]
    rough = jax.random.uniform(key, (shape[0], 2, height, width), minval=-1.0, maxval=1.0)
    along_rows, along_columns = _convolution(height, sigma), _convolution(width, sigma)
    # Few large products rather than many shifted sums, which take long to compile.
    smooth = jnp.einsum("rh,bdhw->bdrw", along_rows, rough, precision=lax.Precision.HIGHEST)
    return alpha * jnp.einsum("cw,bdrw->bdrc", along_columns, smooth, precision=lax.Precision.HIGHEST)


def _convolution(size: int, sigma: float) -> np.ndarray:
    """The convolution with a Gaussian as a matrix, float32 ``[size, size]``."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(size), sigma, axis=0, mode="constant").astype(np.float32)
