"""Which pixels spoke for one class and against another: the gradient of the difference of their logits."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from mnist_jax.models.registry import with_plain_convolutions
from mnist_jax.training.step import preprocess

NUM_COPIES = 8
_NOISE = 0.15  # standard deviation, of tones in [0, 1]


def saliency(
    module: nn.Module,
    variables: dict[str, PyTree],
    images: Shaped[np.ndarray, "batch height width channels"],
    predicted: Int[np.ndarray, " batch"],
    labels: Int[np.ndarray, " batch"],
) -> Float[np.ndarray, "batch height width"]:
    """Returns where more brightness raises the logit of ``predicted`` over that of ``labels``.

    A single gradient is noisy; this is the mean over copies with noise (SmoothGrad, Smilkov et al. 2017) and
    over 3x3 pixels, summed over channels. The network may be any that can be differentiated by its images.

    Args:
        module: the network.
        variables: its variables.
        images: uint8, or floating point in [0, 1].
        predicted: a class for each image.
        labels: another one.
    """
    module = with_plain_convolutions(module)
    # A loop within the program would slow convolutions down on a CPU.
    copies = [
        np.asarray(_noisy_gradient(module, variables, images, predicted, labels, copy), np.float32)
        for copy in range(NUM_COPIES)
    ]
    maps = np.mean(copies, axis=0, dtype=np.float32)
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    height, width = maps.shape[1:]
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.asarray(np.mean(shifted, axis=0), np.float32)


@partial(jax.jit, static_argnums=0)
def _noisy_gradient(
    module: nn.Module,
    variables: dict[str, PyTree],
    images: Array,
    predicted: Array,
    labels: Array,
    copy: Array,
) -> Array:
    """Of the images with the noise of one copy: ``[B, H, W]``, summed over channels."""
    tones = preprocess(images)
    noise = _NOISE * jax.random.normal(jax.random.fold_in(jax.random.key(0), copy), tones.shape)

    def difference(tones: Array) -> Array:
        logits: Any = module.apply(variables, tones, train=False)
        rows = jnp.arange(len(logits))
        return jnp.sum(logits[rows, predicted] - logits[rows, labels])

    return jax.grad(difference)(tones + noise).sum(axis=-1)
