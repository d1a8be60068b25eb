"""Whether ink in MNIST's form is a digit at all, by its strokes' directions (no JAX).

A perceptron with one hidden layer, fitted by ``python -m tools.fit_rejector`` on training digits of MNIST and
on made-up letters, scribbles, shapes, textures, several digits and paper. It knows nothing of the network
whose answers it guards.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from mnist_jax.data.pictures.mnist_form import MNIST_SHAPE

REJECTOR_FILE = Path(__file__).parents[1] / "digits" / "rejector.npz"

_NUM_DIRECTIONS = 8


class Weights(NamedTuple):
    """Of the two layers; the last of the eleven classes is what is no digit."""

    hidden: Float[np.ndarray, "features hidden"]
    hidden_bias: Float[np.ndarray, " hidden"]
    output: Float[np.ndarray, "hidden 11"]
    output_bias: Float[np.ndarray, " 11"]


def non_digit_probability(digits: UInt8[np.ndarray, "digits 28 28"]) -> Float[np.ndarray, " digits"]:
    """Returns how probable it is that each is no single digit, among what the rejector was fitted to."""
    weights = _weights()
    hidden = np.maximum(directions(digits) @ weights.hidden + weights.hidden_bias, 0)
    logits = hidden @ weights.output + weights.output_bias
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds[:, -1] / odds.sum(axis=1)


def directions(digits: UInt8[np.ndarray, "digits 28 28"]) -> Float[np.ndarray, "digits features"]:
    """Returns how strong edges of each of eight directions are in each of 9x9 places, of length 1.

    Source:
        Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005; of the entries
        the roots, as Arandjelovic and Zisserman, CVPR 2012.
    """
    smooth = ndimage.gaussian_filter(digits.astype(np.float32) / 255, (0, 0.7, 0.7))
    down, across = np.gradient(smooth, axis=(1, 2))
    strength = np.hypot(down, across)
    turn = (np.arctan2(down, across) / np.pi % 1) * _NUM_DIRECTIONS
    apart = np.abs(turn[:, None] - np.arange(_NUM_DIRECTIONS, dtype=np.float32)[:, None, None])
    share = np.maximum(1 - np.minimum(apart, _NUM_DIRECTIONS - apart), 0)
    planes = _pooling() @ (strength[:, None] * share) @ _pooling().T
    features = np.moveaxis(planes, 1, -1).reshape(len(digits), -1)
    return np.sqrt(features / np.maximum(features.sum(axis=1, keepdims=True), 1e-6))


def write(weights: Weights) -> None:
    """Puts new weights into the package, in half precision."""
    arrays = {name: array.astype(np.float16) for name, array in weights._asdict().items()}
    np.savez_compressed(REJECTOR_FILE, **arrays)
    _weights.cache_clear()


@functools.cache
def _weights() -> Weights:
    with np.load(REJECTOR_FILE) as arrays:
        return Weights(**{name: arrays[name].astype(np.float32) for name in Weights._fields})


@functools.cache
def _pooling() -> np.ndarray:
    """Means weighted by a bell of 1.5 pixels around every third pixel, float32 ``[9, 28]``."""
    centers = np.arange(2, MNIST_SHAPE[0], 3)
    bell = np.exp(-0.5 * ((np.arange(MNIST_SHAPE[0]) - centers[:, None]) / 1.5) ** 2)
    return (bell / bell.sum(axis=1, keepdims=True)).astype(np.float32)
