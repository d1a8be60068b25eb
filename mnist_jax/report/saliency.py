"""Which pixels spoke for one class and against another: the gradient of the difference of their logits."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

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
    maps = np.asarray(_smooth_gradient(module, variables, images, predicted, labels).sum(axis=-1), np.float32)
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    height, width = maps.shape[1:]
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.asarray(np.mean(shifted, axis=0), np.float32)


@partial(jax.jit, static_argnums=0)
def _smooth_gradient(
    module: nn.Module, variables: dict[str, PyTree], images: Array, predicted: Array, labels: Array
) -> Array:
    tones = preprocess(images)

    def difference(tones: Array) -> Array:
        logits: Any = module.apply(variables, tones, train=False)
        rows = jnp.arange(len(logits))
        return jnp.sum(logits[rows, predicted] - logits[rows, labels])

    def add_copy(i: Array, total: Array) -> Array:
        noise = _NOISE * jax.random.normal(jax.random.fold_in(jax.random.key(0), i), tones.shape)
        return total + jax.grad(difference)(tones + noise)

    return jax.lax.fori_loop(0, NUM_COPIES, add_copy, jnp.zeros_like(tones)) / NUM_COPIES
