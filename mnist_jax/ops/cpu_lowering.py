"""The convolutions and poolings of any function, written as XLA:CPU likes them.

XLA's own convolution is slow on a CPU inside a loop, and its gradients everywhere (jax issue 12868); the
gradient of its pooling is no better. A network that uses ``nn.Conv`` or ``nn.max_pool`` asks for just these.
So the function is traced, and each such operation is replaced by matrix products, sums or maxima of shifted
images with the same meaning, before anybody differentiates, vectorizes or compiles it.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr, Literal, primitives
from jaxtyping import Array, Float

from mnist_jax.ops.convolution import conv2d
from mnist_jax.ops.depthwise import depthwise
from mnist_jax.ops.native.convolution import Window, can_convolve, convolve
from mnist_jax.ops.shifts import Sizes, shifts

# More shifted copies than these cost more than what they replace.
_MOST_SHIFTS = 25


def lower_for_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function with the same results, up to rounding, and convolutions that a CPU computes fast.

    Convolutions over two axes (strides, padding, dilated kernels, groups) and poolings are replaced, in
    functions that are compiled apart or recomputed (``nn.remat``), too; loops (``nn.scan``) are left alone.

    Args:
        function: of pytrees of arrays, gives one; which operations it consists of does not depend on their
            values.
    """

    @functools.wraps(function)
    def lowered(*args: Any) -> Any:
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        results = _evaluate(traced.jaxpr, traced.consts, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return lowered


def _evaluate(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Runs a traced function, operation by operation, with the replacements."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def value_of(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        replacement = _REPLACEMENTS.get(equation.primitive)
        results = replacement and replacement(equation.params, *map(value_of, equation.invars))
        if results is None:
            results = _unchanged(jaxpr, equation, value_of)
        values.update(zip(equation.outvars, results, strict=True))
    return [value_of(variable) for variable in jaxpr.outvars]


def _unchanged(jaxpr: Jaxpr, equation: Any, value_of: Callable[[Any], Any]) -> list[Any]:
    """Runs one operation as it was traced."""
    variables = [variable for variable in equation.invars if not isinstance(variable, Literal)]
    alone = jaxpr.replace(
        constvars=[],
        invars=variables,
        outvars=equation.outvars,
        eqns=[equation],
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )
    return jax.core.eval_jaxpr(alone, (), *map(value_of, variables))


def _inline(params: dict[str, Any], *operands: Any) -> list[Any]:
    return _evaluate(params["jaxpr"].jaxpr, params["jaxpr"].consts, operands)


def _remat(params: dict[str, Any], *operands: Any) -> list[Any]:
    evaluate = functools.partial(_evaluate, params["jaxpr"], ())
    recomputed = jax.checkpoint(
        lambda *args: evaluate(args), policy=params["policy"], prevent_cse=params["prevent_cse"]
    )
    return recomputed(*operands)


def _convolution(params: dict[str, Any], images: Array, kernel: Array) -> list[Array] | None:
    """``conv_general_dilated`` over two axes; None for one that is left to XLA."""
    layout = params["dimension_numbers"]
    if (
        images.ndim != 4
        or images.dtype != kernel.dtype
        or not jnp.issubdtype(images.dtype, jnp.floating)
        or params["preferred_element_type"] not in (None, images.dtype)
        or params["lhs_dilation"] != (1, 1)
        or params["batch_group_count"] != 1
    ):
        return None
    batch, channels, *sides = layout.lhs_spec
    images = jnp.transpose(images, (batch, *sides, channels))
    outputs, inputs, *sides = layout.rhs_spec
    kernel = jnp.transpose(kernel, (*sides, inputs, outputs))
    precision = params["precision"]
    result = correlate(
        images,
        kernel,
        padding=params["padding"],
        strides=params["window_strides"],
        dilation=params["rhs_dilation"],
        groups=params["feature_group_count"],
        precision=precision[0] if isinstance(precision, tuple) else precision,
    )
    batch, channels, *sides = layout.out_spec
    return [jnp.transpose(result, [(batch, *sides, channels).index(axis) for axis in range(4)])]


def correlate(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows cols group_channels features"],
    *,
    padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
    strides: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    precision: lax.Precision | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlates images with a kernel as a CPU likes it.

    Args:
        images: ``[B, H, W, C]``.
        kernel: ``[R, S, C // groups, F]``.
        padding: rows of zeros above and below, columns left and right; taken away where negative.
        strides: down and across, in pixels of ``images``, from one result to the next.
        dilation: down and across, in pixels of ``images``, from one kernel entry to the next.
        groups: the channels fall into as many groups, and the features: each group of features sees its own
            group of channels.
        precision: of the products on devices that have more than one.

    Returns:
        ``[B, P, Q, F]``, ``P = (H + padding - (R - 1) * dilation[0] - 1) // strides[0] + 1``, ``Q`` likewise.
    """
    rows, cols, channels, features = kernel.shape
    window = Window((padding[0], padding[1]), strides, dilation)
    if groups == 1 and can_convolve(images, kernel, window):
        return convolve(images, kernel, window)
    images = _pad(images, [(0, 0), *padding, (0, 0)])
    if groups > 1:
        if channels == 1:
            return _correlate_depthwise(images, kernel, strides, dilation)
        pieces = zip(jnp.split(images, groups, axis=3), jnp.split(kernel, groups, axis=3), strict=True)
        of_group = functools.partial(correlate, strides=strides, dilation=dilation, precision=precision)
        return jnp.concatenate([of_group(*piece) for piece in pieces], axis=3)
    if (rows, cols) == (1, 1):
        # Differentiated by hand: XLA would write the transposed gradient for the one to the kernel.
        images = images[:, :: strides[0], :: strides[1]]
        return conv2d(images, kernel, "native", precision)
    if dilation == (1, 1):
        return _correlate_strided(images, kernel, strides, precision)
    shifted = shifts(images, (1, rows, cols, 1), (1, *strides, 1), (1, *dilation, 1))
    patches = jnp.concatenate(list(shifted), axis=3)
    return jnp.matmul(patches, kernel.reshape(-1, features), precision=precision)


def _correlate_strided(
    images: Array, kernel: Array, strides: tuple[int, int], precision: lax.Precision | None
) -> Array:
    """The pixels between two places become channels, and what is left to do has stride 1."""
    if strides == (1, 1):
        return conv2d(images, kernel, "native", precision)
    batch, height, width, channels = images.shape
    rows, cols, _, features = kernel.shape
    down, across = strides
    kernel_rows, kernel_cols = -(-rows // down), -(-cols // across)
    image_rows, image_cols = (height - rows) // down + kernel_rows, (width - cols) // across + kernel_cols
    # Zeros below and to the right of the kernel, and as many pixels, which they multiply.
    kernel = _pad(kernel, [(0, kernel_rows * down - rows), (0, kernel_cols * across - cols), (0, 0), (0, 0)])
    images = _pad(images, [(0, 0), (0, image_rows * down - height), (0, image_cols * across - width), (0, 0)])
    images = images.reshape(batch, image_rows, down, image_cols, across, channels).transpose(0, 1, 3, 2, 4, 5)
    kernel = kernel.reshape(kernel_rows, down, kernel_cols, across, channels, features)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
    return conv2d(
        images.reshape(batch, image_rows, image_cols, -1),
        kernel.reshape(kernel_rows, kernel_cols, -1, features),
        "native",
        precision,
    )


def _correlate_depthwise(
    images: Array, kernel: Array, strides: tuple[int, int], dilation: tuple[int, int]
) -> Array:
    """One channel in each group: shifted images times a number for each channel."""
    rows, cols, _, features = kernel.shape
    # Each channel makes as many features, side by side.
    images = jnp.repeat(images, features // images.shape[3], axis=3)
    return depthwise(images, kernel.reshape(rows, cols, features), strides, dilation)


def _max_pool(params: dict[str, Any], images: Array) -> list[Array] | None:
    lowest = -jnp.inf if jnp.issubdtype(images.dtype, jnp.floating) else jnp.iinfo(images.dtype).min
    window, strides, dilation = _window_of(params)
    if not _is_small(params):
        return None
    return [_maximum_of_windows(_pad(images, params["padding"], lowest), window, strides, dilation)]


def _sum_pool(params: dict[str, Any], images: Array) -> list[Array] | None:
    window, strides, dilation = _window_of(params)
    if not _is_small(params):
        return None
    return [functools.reduce(jnp.add, shifts(_pad(images, params["padding"]), window, strides, dilation))]


def _window_of(params: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return params["window_dimensions"], params["window_strides"], params["window_dilation"]


def _is_small(params: dict[str, Any]) -> bool:
    return set(params["base_dilation"]) == {1} and math.prod(params["window_dimensions"]) <= _MOST_SHIFTS


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _maximum_of_windows(x: Array, window: Sizes, strides: Sizes, dilation: Sizes) -> Array:
    return functools.reduce(jnp.maximum, shifts(x, window, strides, dilation))


def _maximum_forward(x: Array, window: Sizes, strides: Sizes, dilation: Sizes) -> tuple[Array, tuple]:
    largest = _maximum_of_windows(x, window, strides, dilation)
    return largest, (x, largest)


def _maximum_backward(
    window: Sizes, strides: Sizes, dilation: Sizes, residuals: tuple[Array, Array], gradient: Array
) -> tuple[Array]:
    """The first of several largest gets the gradient, as in XLA."""
    x, largest = residuals
    shares, free = [], jnp.ones(largest.shape, bool)
    for shifted in shifts(x, window, strides, dilation):
        hit = free & (shifted == largest)
        free &= ~hit
        shares.append(jnp.where(hit, gradient, 0))
    shape_only = jax.ShapeDtypeStruct(x.shape, x.dtype)
    spread = jax.linear_transpose(lambda x: list(shifts(x, window, strides, dilation)), shape_only)
    return spread(shares)


_maximum_of_windows.defvjp(_maximum_forward, _maximum_backward)


def _pad(x: Array, padding: Sequence[tuple[int, int]], value: float = 0) -> Array:
    """Adds to the ends of each axis; takes away where the number is negative."""
    if not any(map(any, padding)):
        return x
    return lax.pad(x, jnp.asarray(value, x.dtype), [(before, behind, 0) for before, behind in padding])


_REPLACEMENTS: dict[Any, Callable[..., list[Any] | None]] = {
    primitives.jit_p: _inline,
    primitives.remat_p: _remat,
    primitives.conv_general_dilated_p: _convolution,
    primitives.reduce_window_max_p: _max_pool,
    primitives.reduce_window_sum_p: _sum_pool,
}
