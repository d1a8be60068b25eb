"""Convolutions by the C++ functions, with their gradients."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mnist_jax.ops.native.library import is_available

Pair = tuple[int, int]

# Of the memory that the C++ functions work in, which they check.
_BLOCK = 16  # channels that are computed together, kBlock of shape.h
_ROWS = 8  # of a gradient to a kernel: at least kOuterRows of block.h
# As many parts of a batch are summed apart in a gradient to a kernel: so many threads can work on it, and
# the result does not depend on how many do.
_PARTS = 8
# Winograd's convolution needs so many times fewer multiplications; with a smaller saving, or with fewer
# channels, the transforms cost more.
_LEAST_SAVING = 2.0
_FEWEST_CHANNELS = 8


class Window(NamedTuple):
    """How a kernel moves over images, down and across."""

    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    strides: Pair = (1, 1)
    dilation: Pair = (1, 1)

    def out_sides(self, sides: tuple[int, ...], kernel: tuple[int, ...]) -> Pair:
        """Returns height and width of the result."""
        down, across = (
            (side + sum(padding) - (reach - 1) * dilation - 1) // stride + 1
            for side, reach, padding, stride, dilation in zip(sides, kernel, *self, strict=True)
        )
        return down, across

    def attribute(self) -> np.ndarray:
        """Returns what the C++ functions are told."""
        before = [padding[0] for padding in self.padding]
        return np.array([*before, *self.strides, *self.dilation], np.int64)


PLAIN = Window()


def can_convolve(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels features"],
    window: Window = PLAIN,
) -> bool:
    """Whether the C++ functions are there and meant for this: float32, no padding taken away, some result.

    A 1x1 kernel is one matrix product, which XLA does as fast.
    """
    sides = window.out_sides(images.shape[1:3], kernel.shape[:2])
    return (
        images.dtype == kernel.dtype == jnp.float32
        and min(*images.shape, *kernel.shape, *sides) > 0
        and min(map(min, window.padding)) >= 0
        and kernel.shape[:2] != (1, 1)
        and jax.default_backend() == "cpu"
        and is_available()
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels features"],
    window: Window = PLAIN,
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlates images with a kernel, float32, on a CPU where `can_convolve`.

    Returns:
        ``[B, P, Q, F]``, ``P = (H + padding - (R - 1) * dilation - 1) // stride + 1`` and ``Q`` likewise.
    """
    (rows, cols), (channels, features) = kernel.shape[:2], kernel.shape[2:]
    shape = (images.shape[0], *window.out_sides(images.shape[1:3], (rows, cols)), features)
    algorithm = _algorithm(shape, kernel.shape, window)
    positions = 36 if algorithm == "winograd" else rows * cols
    weights = (positions * _blocks(features) * channels * _BLOCK,)
    return _call(algorithm, "", images, kernel, window, shape, weights)


def _forward(images: Array, kernel: Array, window: Window) -> tuple[Array, tuple]:
    return convolve(images, kernel, window), (images, kernel)


def _backward(window: Window, residuals: tuple, gradient: Array) -> tuple[Array, Array]:
    images, kernel = residuals
    rows, cols, channels, features = kernel.shape
    algorithm = _algorithm(gradient.shape, kernel.shape, window)
    if algorithm == "winograd":
        weights = (36 * _blocks(channels) * features * _BLOCK,)
        sums = (_PARTS, 36 * _blocks(features) * _blocks(channels) * _BLOCK * _BLOCK)
    else:
        weights = (rows * cols * _blocks(channels) * features * _BLOCK,)
        sums = (_PARTS, _blocks(features) * math.ceil(rows * cols * channels / _ROWS) * _ROWS * _BLOCK)
    return (
        _call(algorithm, "_images_gradient", gradient, kernel, window, images.shape, weights),
        _call(algorithm, "_kernel_gradient", images, gradient, window, kernel.shape, sums),
    )


convolve.defvjp(_forward, _backward)


def _algorithm(shape: tuple[int, ...], kernel: tuple[int, ...], window: Window) -> str:
    """Chooses by the shapes of a result and of its kernel."""
    if kernel[:2] != (3, 3) or window.strides != (1, 1) or window.dilation != (1, 1):
        return "direct"
    tiles = math.prod(-(-side // 4) for side in shape[1:3])
    saving = 9 * math.prod(shape[1:3]) / (36 * tiles)
    return "winograd" if min(kernel[2:]) >= _FEWEST_CHANNELS and saving >= _LEAST_SAVING else "direct"


def _blocks(channels: int) -> int:
    return math.ceil(channels / _BLOCK)


def _call(
    algorithm: str,
    function: str,
    left: Array,
    right: Array,
    window: Window,
    shape: tuple[int, ...],
    scratch: tuple[int, ...],
) -> Array:
    """Calls a C++ function, whose second result is memory to work in."""
    results = [jax.ShapeDtypeStruct(sizes, jnp.float32) for sizes in (shape, scratch)]
    call = jax.ffi.ffi_call(f"mnist_jax_{algorithm}{function}", results, vmap_method="sequential")
    return call(left, right, window=window.attribute())[0]
