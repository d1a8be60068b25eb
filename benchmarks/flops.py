"""Floating-point operations of a training step's matrix products and convolutions, counted from shapes.

Two counts: what the network needs when its convolutions are done as they are written, which is the same for
everyone, and what this project's program multiplies, which Winograd's minimal filtering makes a third of it.
"""

import math
from collections.abc import Iterator, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn
from jax.interpreters import partial_eval

from mnist_jax.models.forward import forward_fn


def count_forward_flops(model: nn.Module, image_shape: Sequence[int], batch_size: int = 1) -> list[int]:
    """Counts, for each convolution and matrix product in the order they are done, 2 x multiply-adds.

    The model is traced with plain convolutions, however it lowers them: what a faster way computes on top
    (padding, partial sums) is no useful work and does not count.

    Args:
        model: with a field ``conv``, called as ``model(images, train=...)``.
        image_shape: ``(height, width, channels)``.
        batch_size: images.
    """
    plain = model.clone(conv="lax") if hasattr(model, "conv") else model
    images = jax.ShapeDtypeStruct((batch_size, *image_shape), jnp.float32)
    variables = jax.eval_shape(plain.init, jax.random.key(0), images)
    jaxpr = jax.make_jaxpr(lambda v, x: plain.apply(v, x, train=False))(variables, images)
    return [flops for equation in _equations(jaxpr.jaxpr) if (flops := _product_flops(equation))]


def count_step_flops(model: nn.Module, image_shape: Sequence[int], batch_size: int) -> int:
    """Counts a training step: forward, the gradients to all kernels, and to all inputs but the images.

    Elementwise work (BatchNorm, ReLU, pooling, Adam) is left out: it is below 2% of the article's network and
    not what a device's product rate is about.
    """
    forward = count_forward_flops(model, image_shape, batch_size)
    return 3 * sum(forward) - forward[0]


def count_multiplied_flops(model: nn.Module, image_shape: Sequence[int], batch_size: int) -> int | None:
    """Counts 2 x multiply-adds of the products that a training step does, padding and partial sums too.

    Products whose result nothing uses are left out, as the compiler does. The sums of Winograd's transforms
    and elementwise work are not counted.

    Args:
        model: called as ``model(images, train=...)``, lowered as training lowers it on this device.
        image_shape: ``(height, width, channels)``.
        batch_size: images.

    Returns:
        the count, or None where a convolution is left to XLA, which chooses how to do it.
    """
    images = jax.ShapeDtypeStruct((batch_size, *image_shape), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    forward = forward_fn(model)

    def loss(params: dict, rest: dict, images: jax.Array) -> jax.Array:
        rngs = {"dropout": jax.random.key(0)}
        variables = {**rest, "params": params}
        logits, _ = forward(variables, images, rngs=rngs, train=True, mutable=list(rest))
        # Its gradient needs the logits, as that of any loss.
        return jnp.sum(jnp.square(logits))

    rest = {name: collection for name, collection in variables.items() if name != "params"}
    jaxpr = jax.make_jaxpr(jax.grad(loss))(variables["params"], rest, images).jaxpr
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    equations = list(_equations(used))
    if any(equation.primitive.name == "conv_general_dilated" for equation in equations):
        return None
    return sum(map(_product_flops, equations))


def _equations(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def _product_flops(equation: JaxprEqn) -> int:
    output = equation.outvars[0].aval
    if equation.primitive.name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        out_features = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
        return 2 * math.prod(output.shape) * math.prod(kernel.shape) // out_features
    if equation.primitive.name == "ffi_call":
        return _native_flops(equation.params["target_name"], equation)
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = equation.invars[0].aval
        return 2 * math.prod(output.shape) * math.prod(left.shape[axis] for axis in contracted)
    return 0


def _native_flops(target: str, equation: JaxprEqn) -> int:
    """Of one of the functions in C++: what it multiplies for each place of a result and of the kernel."""
    left, right, output = *equation.invars[:2], equation.outvars[0]
    result, kernel = output, right
    if target.endswith("_images_gradient"):
        result = left
    elif target.endswith("_kernel_gradient"):
        result, kernel = right, output
    batch, height, width, _ = result.aval.shape
    rows, cols, channels, features = kernel.aval.shape
    if target.startswith("mnist_jax_winograd"):
        return 2 * batch * 36 * math.ceil(height / 4) * math.ceil(width / 4) * channels * features
    return 2 * batch * height * width * rows * cols * channels * features
