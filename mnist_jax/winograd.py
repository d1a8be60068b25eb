"""Winograd's minimal filtering for 3x3 kernels: F(2x2, 3x3) of Lavin and Gray 2016 (floor 0).

Each 2x2 tile of the result comes from 16 multiplications for each pair of channels instead of 36. A tile of
the images and the kernel are carried over by sums and differences, multiplied number by number, which over
all tiles and channels is one matrix product for each of the 16 places, and carried back. The gradients are
the adjoints of the same three steps, so they need 16 products each as well.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

# Lavin and Gray's G, which carries a kernel over; their B' and A' are the functions of sums below.
_KERNEL_TRANSFORM = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
# Measured on CPU (benchmarks/README.md): with fewer, what carrying over moves through memory costs more than
# the multiplications saved.
_FEWEST_CHANNELS = 64

Grid = list[list[Array]]


def pays(kernel: Float[Array, "rows cols channels features"]) -> bool:
    """Whether a convolution with this kernel is 3x3, wide enough, and precise enough for sums beforehand."""
    wide = min(kernel.shape[2:]) >= _FEWEST_CHANNELS
    return kernel.shape[:2] == (3, 3) and wide and jnp.finfo(kernel.dtype).bits >= 32


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def winograd_conv2d(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "3 3 channels features"],
    precision: lax.Precision | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlates with stride 1 and without padding: ``[B, H, W, C] -> [B, H - 2, W - 2, F]``.

    Args:
        images: ``[B, H, W, C]``, 3x3 or larger.
        kernel: ``[3, 3, C, F]``.
        precision: of the products on devices that have more than one.
    """
    return _forward(images, kernel, precision)[0]


def _forward(images: Array, kernel: Array, precision: lax.Precision | None) -> tuple[Array, tuple]:
    batch, height, width, channels = images.shape
    rows, cols = _count_tiles(height - 2), _count_tiles(width - 2)
    padded = _fill(images, 2 * rows + 2, 2 * cols + 2)
    tiles = _on_both_axes(
        _carry_images,
        [[padded[:, i : i + 2 * rows : 2, j : j + 2 * cols : 2] for j in range(4)] for i in range(4)],
    )
    tiles = [[tile.reshape(-1, channels) for tile in line] for line in tiles]
    weights = _carry_kernel(kernel)
    products = [
        [jnp.matmul(tiles[i][j], weights[i, j], precision=precision) for j in range(4)] for i in range(4)
    ]
    result = _join(
        [[x.reshape(batch, rows, cols, -1) for x in line] for line in _on_both_axes(_back, products)]
    )
    return result[:, : height - 2, : width - 2], (tiles, kernel)


def _backward(precision: lax.Precision | None, residuals: tuple, gradient: Array) -> tuple[Array, Array]:
    tiles, kernel = residuals
    batch, height, width, features = gradient.shape
    rows, cols = _count_tiles(height), _count_tiles(width)
    by_place = _fill(gradient, 2 * rows, 2 * cols).reshape(batch, rows, 2, cols, 2, features)
    spread = _on_both_axes(_back_adjoint, [[by_place[:, :, i, :, j] for j in range(2)] for i in range(2)])
    # Without the barriers XLA would do the sums anew for each use.
    spread = lax.optimization_barrier([[x.reshape(-1, features) for x in line] for line in spread])
    weights = _carry_kernel(kernel)
    to_tiles = [
        [jnp.matmul(spread[i][j], weights[i, j].T, precision=precision) for j in range(4)] for i in range(4)
    ]
    pieces = [
        [x.reshape(batch, rows, cols, -1) for x in line]
        for line in _on_both_axes(_carry_images_adjoint, to_tiles)
    ]
    # Tiles are 4 wide and 2 apart: a pixel is in two of them along each axis.
    both = [(a, b) for a in range(2) for b in range(2)]
    overlap = [
        [
            functools.reduce(jnp.add, [_moved(pieces[i + 2 * a][j + 2 * b], a, b) for a, b in both])
            for j in range(2)
        ]
        for i in range(2)
    ]
    to_images = lax.optimization_barrier(_join(overlap)[:, : height + 2, : width + 2])
    products = jnp.stack(
        [
            jnp.stack([jnp.matmul(tiles[i][j].T, spread[i][j], precision=precision) for j in range(4)])
            for i in range(4)
        ]
    )
    transform = jnp.asarray(_KERNEL_TRANSFORM, kernel.dtype)
    to_kernel = jnp.einsum(
        "ir,js,ijcf->rscf", transform, transform, products, precision=lax.Precision.HIGHEST
    )
    return to_images, to_kernel


winograd_conv2d.defvjp(_forward, _backward)


def _count_tiles(size: int) -> int:
    return -(-size // 2)


def _on_both_axes(transform: Callable[[Sequence[Array]], list[Array]], grid: Grid) -> Grid:
    """Applies a transform of one axis to the lines of a grid, then to its columns."""
    lines = [transform(line) for line in grid]
    columns = [transform(column) for column in zip(*lines, strict=True)]
    return [list(line) for line in zip(*columns, strict=True)]


def _carry_images(x: Sequence[Array]) -> list[Array]:
    return [x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]]


def _carry_images_adjoint(x: Sequence[Array]) -> list[Array]:
    return [x[0], x[1] - x[2] + x[3], x[1] + x[2] - x[0], -x[3]]


def _back(x: Sequence[Array]) -> list[Array]:
    return [x[0] + x[1] + x[2], x[1] - x[2] - x[3]]


def _back_adjoint(x: Sequence[Array]) -> list[Array]:
    return [x[0], x[0] + x[1], x[0] - x[1], -x[1]]


def _carry_kernel(kernel: Array) -> Array:
    """``[3, 3, C, F] -> [4, 4, C, F]``."""
    transform = jnp.asarray(_KERNEL_TRANSFORM, kernel.dtype)
    return jnp.einsum("ir,js,rscf->ijcf", transform, transform, kernel, precision=lax.Precision.HIGHEST)


def _fill(x: Array, height: int, width: int) -> Array:
    """Zeros below and to the right, up to this size."""
    return jnp.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)))


def _join(grid: Grid) -> Array:
    """Puts four images of every second pixel together: 2x2 of ``[B, P, Q, F] -> [B, 2 P, 2 Q, F]``."""
    batch, rows, cols, features = grid[0][0].shape
    together = jnp.stack([jnp.stack(line, axis=3) for line in grid], axis=2)
    return together.reshape(batch, 2 * rows, 2 * cols, features)


def _moved(piece: Array, down: int, right: int) -> Array:
    """One pixel larger along both axes, the new one before (1) or behind (0) the others."""
    return jnp.pad(piece, ((0, 0), (down, 1 - down), (right, 1 - right), (0, 0)))
