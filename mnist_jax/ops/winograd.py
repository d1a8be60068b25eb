"""Winograd's minimal filtering for 3x3 kernels: F(4x4, 3x3) of Lavin and Gray 2016.

Each 4x4 tile of the result comes from 36 multiplications for each pair of channels instead of 144. A tile of
the images, 6x6 and overlapping its neighbors, passes the input transform, the kernel the filter transform.
They are multiplied number by number, which over all tiles and channels is one matrix product for each of the
36 tile positions, and the output transform makes the tile of the result. The gradients are the adjoints of
these steps, so they need 36 products each as well.

Every transform goes along one axis at a time and is compiled on its own (`compiled_apart`): fused into what
follows, the sums would be computed again for each use, in loops that XLA:CPU does not vectorize.
"""

import functools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mnist_jax.ops.compiled_apart import compiled_apart

Matrix = list[list[float]]
Grid = list[list[Array]]

_TILE = 4
_KERNEL = 3
# Measured on CPU (benchmarks/README.md): with less, the transforms' traffic to memory costs more than the
# multiplications saved.
_FEWEST_CHANNELS = 32
_LEAST_SAVING = 2.5


def transforms(
    points: Sequence[Fraction], kernel_size: int
) -> tuple[list[list[Fraction]], list[list[Fraction]], list[list[Fraction]]]:
    """The matrices of a minimal filtering algorithm, by Cook and Toom's interpolation.

    Polynomials are multiplied by their values at these points and at infinity; filtering is the transpose of
    that (Blahut 2010, "Fast Algorithms for Signal Processing").

    Args:
        points: distinct; one fewer than a tile of the input is long.
        kernel_size: length of the kernel.

    Returns:
        what Lavin and Gray call ``B'``, ``G`` and ``A'``, exactly: the filtered tile is
        ``A' ((G kernel) * (B' tile))``.
    """
    size = len(points) + 1
    others = [[q for q in points if q != p] for p in points]
    infinity = [Fraction(0)] * (kernel_size - 1) + [Fraction(1)]
    input_transform = [[*_expand(roots), Fraction(0)] for roots in others] + [_expand(points)]
    filter_transform = [
        [p**k / math.prod((p - q for q in roots), start=Fraction(1)) for k in range(kernel_size)]
        for p, roots in zip(points, others, strict=True)
    ] + [infinity]
    last = size - kernel_size
    output_transform = [[*(p**k for p in points), Fraction(int(k == last))] for k in range(last + 1)]
    return input_transform, filter_transform, output_transform


def _expand(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, the constant first, of the product of ``x - root``."""
    coefficients = [Fraction(1)]
    for root in roots:
        raised = [Fraction(0), *coefficients]
        coefficients = [a - root * b for a, b in zip(raised, [*coefficients, Fraction(0)], strict=True)]
    return coefficients


def _as_floats(matrix: list[list[Fraction]]) -> Matrix:
    return [[float(number) for number in row] for row in matrix]


def _transpose(matrix: Sequence[Sequence]) -> list[list]:
    return [list(column) for column in zip(*matrix, strict=True)]


# Opposite and inverse points let roundings cancel (Alam et al. 2022, "Winograd Convolution for Deep Neural
# Networks: Efficient Point Selection"): a third of the largest error of 1, -1, 2, -2.
POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))
_INPUT, _FILTER, _OUTPUT = map(_as_floats, transforms(POINTS, _KERNEL))


def is_profitable(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols channels features"],
) -> bool:
    """Whether this is faster than one large matrix product, on CPU, and precise enough.

    It takes a 3x3 kernel between many channels, a result that fills its tiles, and single precision: half of
    that would be lost in the sums.
    """
    if kernel.shape[:2] != (_KERNEL, _KERNEL) or jnp.finfo(kernel.dtype).bits < 32:
        return False
    sides = [side - _KERNEL + 1 for side in images.shape[1:3]]
    positions = (_TILE + _KERNEL - 1) ** 2 * math.prod(-(-side // _TILE) for side in sides)
    saving = kernel.shape[0] * kernel.shape[1] * math.prod(sides) / positions
    return min(kernel.shape[2:]) >= _FEWEST_CHANNELS and saving >= _LEAST_SAVING


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def winograd_conv2d(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "3 3 channels features"],
    precision: lax.Precision | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlates with stride 1 and without padding.

    Returns:
        ``[B, H - 2, W - 2, F]`` in the dtype of the images.
    """
    return _forward(images, kernel, precision)[0]


def _forward(images: Array, kernel: Array, precision: lax.Precision | None) -> tuple[Array, tuple]:
    height, width = images.shape[1] - _KERNEL + 1, images.shape[2] - _KERNEL + 1
    rows, residuals = _rows(images, kernel, precision)
    return _join([_transform_output(row) for row in rows], height=height, width=width), residuals


def _rows(images: Array, kernel: Array, precision: lax.Precision | None) -> tuple[Grid, tuple]:
    """All but the last step: the four rows of the tiles, each still to pass the output transform across.

    Beside them the transformed images and kernel.
    """
    lines = _transform_input(images, axis=1)
    tiles = [_transform_input(line, axis=2) for line in lines]
    weights = _transform_filter(kernel)
    products = _multiply(functools.partial(jnp.matmul, precision=precision), tiles, weights)
    columns = [_transform_output(column) for column in _transpose(products)]
    return _transpose(columns), (tiles, weights)


def winograd_conv2d_relu(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "3 3 channels features"],
    bias: Float[Array, " features"],
    *,
    pool: bool = False,
    precision: lax.Precision | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolves as `winograd_conv2d` does, then adds a bias, takes ReLU and, where asked, pools 2x2.

    The tiles are pooled before they are joined, so that the convolution's result is never written.

    Returns:
        ``[B, H - 2, W - 2, F]``, halved by pooling, in the dtype of the images.
    """
    height, width = images.shape[1] - _KERNEL + 1, images.shape[2] - _KERNEL + 1
    rows, _ = _rows(images, kernel, precision)
    side = 2 if pool else 1
    pieces = [_finish(rows[i : i + side], bias) for i in range(0, _TILE, side)]
    return _join(pieces, height=height // side, width=width // side)


@compiled_apart
def _finish(rows: Grid, bias: Array) -> list[Array]:
    """One row of the tiles, or two that are pooled, after the output transform across, the bias and ReLU."""
    lines = [_combine(_OUTPUT, row) for row in rows]
    if len(lines) == 2:
        tall = list(map(jnp.maximum, *lines))
        lines = [list(map(jnp.maximum, tall[::2], tall[1::2]))]
    return [jax.nn.relu(x + bias) for x in lines[0]]


def _backward(precision: lax.Precision | None, residuals: tuple, gradient: Array) -> tuple[Array, Array]:
    tiles, weights = residuals
    height, width = gradient.shape[1] + _KERNEL - 1, gradient.shape[2] + _KERNEL - 1
    lines = _transform_gradient(gradient, axis=1)
    spread = [_transform_gradient(line, axis=2) for line in lines]
    to_tiles = _multiply(lambda s, w: jnp.matmul(s, w.T, precision=precision), spread, weights)
    columns = [_input_gradient(column, axis=1) for column in _transpose(to_tiles)]
    pieces = [_input_gradient(row, axis=2) for row in _transpose(columns)]
    to_images = _join(pieces, height=height, width=width)
    to_weights = _multiply(
        lambda t, s: jnp.matmul(
            t.reshape(-1, t.shape[-1]).T, s.reshape(-1, s.shape[-1]), precision=precision
        ),
        tiles,
        spread,
    )
    return to_images, _filter_gradient(to_weights)


winograd_conv2d.defvjp(_forward, _backward)


def _multiply(product: Callable[[Array, Array], Array], left: Grid, right: Grid) -> Grid:
    """One product for each tile position."""
    return [[product(a, b) for a, b in zip(*lines, strict=True)] for lines in zip(left, right, strict=True)]


def _combine(matrix: Matrix, arrays: Sequence[Array]) -> list[Array]:
    """The sums of arrays that the rows of a matrix name; zeros and ones cost nothing."""
    return [
        functools.reduce(
            jnp.add, [x if c == 1 else c * x for c, x in zip(row, arrays, strict=True) if c != 0]
        )
        for row in matrix
    ]


def _transform_tiles(matrix: Matrix, x: Array, axis: int) -> list[Array]:
    """Cuts an axis into tiles, a tile's length apart, and combines the positions of a tile."""
    length = len(matrix[0])
    count = -(-(x.shape[axis] - (length - _TILE)) // _TILE)
    missing = (count - 1) * _TILE + length - x.shape[axis]
    x = _pad(x, axis, 0, missing)
    ends = [i + (count - 1) * _TILE + 1 for i in range(length)]
    return _combine(matrix, [lax.slice_in_dim(x, i, end, _TILE, axis) for i, end in enumerate(ends)])


@functools.partial(compiled_apart, static_argnames="axis")
def _transform_input(x: Array, axis: int) -> list[Array]:
    return _transform_tiles(_INPUT, x, axis)


@functools.partial(compiled_apart, static_argnames="axis")
def _transform_gradient(x: Array, axis: int) -> list[Array]:
    return _transform_tiles(_transpose(_OUTPUT), x, axis)


@compiled_apart
def _transform_output(x: Sequence[Array]) -> list[Array]:
    return _combine(_OUTPUT, x)


@functools.partial(compiled_apart, static_argnames="axis")
def _input_gradient(x: Sequence[Array], axis: int) -> list[Array]:
    """The adjoint of `_transform_input`: adds what tiles share. One tile more, for the last one's end."""
    positions = _combine(_transpose(_INPUT), x)
    first, second = positions[:_TILE], positions[_TILE:]
    sums = [_pad(position, axis, 0, 1) for position in first]
    return [total + _pad(second[i], axis, 1, 0) if i < len(second) else total for i, total in enumerate(sums)]


@functools.partial(compiled_apart, static_argnames=("height", "width"))
def _join(pieces: Grid, height: int, width: int) -> Array:
    """Puts images of every fourth pixel together: 4x4 of ``[B, P, Q, F] -> [B, height, width, F]``.

    Of every second, from 2x2 of them, likewise.
    """
    batch, rows, cols, features = pieces[0][0].shape
    together = jnp.stack([jnp.stack(line, axis=3) for line in pieces], axis=2)
    side = len(pieces)
    return together.reshape(batch, side * rows, side * cols, features)[:, :height, :width]


def _transform_filter(kernel: Array) -> Grid:
    """``[3, 3, C, F]`` to 6x6 of ``[C, F]``."""
    lines = [_combine(_FILTER, [kernel[i, j] for i in range(_KERNEL)]) for j in range(_KERNEL)]
    return [_combine(_FILTER, row) for row in _transpose(lines)]


def _filter_gradient(grid: Grid) -> Array:
    """The adjoint of `_transform_filter`: 6x6 of ``[C, F]`` to ``[3, 3, C, F]``."""
    lines = [_combine(_transpose(_FILTER), column) for column in _transpose(grid)]
    rows = [_combine(_transpose(_FILTER), row) for row in _transpose(lines)]
    return jnp.stack([jnp.stack(row) for row in rows])


def _pad(x: Array, axis: int, before: int, behind: int) -> Array:
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (before, behind, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), config)
