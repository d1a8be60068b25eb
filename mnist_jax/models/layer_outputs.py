"""Every layer of a network at once: what it gives for an image, what it looks at, and for what it speaks."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from mnist_jax.models.layers import ConvBlock, DenseBlock, MaxPool
from mnist_jax.ops.pooling import max_pool2d

# A layer of more units is left out, and of more layers those in between.
_MOST_UNITS = 2**19
_MOST_LAYERS = 24

# Of 1, which is white: drowns what else a unit adds.
_BRIGHT = 1e3

_BLOCKS = {ConvBlock: "convolution", DenseBlock: "dense", MaxPool: "pooling"}
_KINDS = {"Conv": "convolution", "Dense": "dense"}


@dataclass(frozen=True)
class Layer:
    """One layer of a network."""

    name: str  # path of the module, with slashes
    kind: str  # ``convolution``, ``pooling``, ``dense``, or the name of the module's class
    shape: tuple[int, ...]  # of its output: ``(height, width, channels)`` or ``(units,)``
    path: tuple[str, ...]  # of the module
    is_unpooled: bool  # whether the output is that of the `ConvBlock` at the path before its pooling
    has_kernel: bool  # whether parameters ``kernel`` below the path make this output


def find_layers(module: nn.Module, image_shape: Sequence[int]) -> list[Layer]:
    """Lists the layers of any linen module in the order they are called, without computing anything.

    A convolution that is followed by pooling within its `ConvBlock` is a layer of its own. BatchNorm, dropout
    and layers whose output has no form of ``[batch, height, width, channels]`` or ``[batch, units]`` are left
    out, and so are layers of more than half a million units.
    """
    calls: dict[tuple[tuple[str, ...], bool], tuple[nn.Module, tuple[int, ...] | None]] = {}

    def record(next_fun: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = next_fun(*args, **kwargs)
        called = context.module
        if called.path and context.method_name == "__call__":
            if _pools(called):
                height, width = (side - called.kernel_size + 1 for side in args[0].shape[1:3])
                calls.setdefault((called.path, True), (called, (height, width, called.features)))
            shape = tuple(output.shape[1:]) if hasattr(output, "shape") else None
            calls.setdefault((called.path, False), (called, shape))
        return output

    with nn.intercept_methods(record):
        key = jax.random.key(0)
        variables = jax.eval_shape(
            lambda x: module.init({"params": key, "dropout": key}, x, train=False),
            jax.ShapeDtypeStruct((1, *image_shape), jnp.float32),
        )
    blocks = {path for (path, _), (called, _) in calls.items() if type(called) in _BLOCKS}
    layers: list[Layer] = []
    for (path, is_unpooled), (called, shape) in calls.items():
        if shape is None or len(shape) not in (1, 3) or not 0 < np.prod(shape) <= _MOST_UNITS:
            continue
        is_inside = any(path[:depth] in blocks for depth in range(1, len(path)))
        is_outside = path not in blocks and any(
            len(other) > len(path) and other[: len(path)] == path for other, _ in calls
        )
        if is_inside or is_outside:
            continue
        is_pooled = _pools(called) and not is_unpooled
        has_kernel = not is_pooled and _kernel_of(variables, path) is not None
        if not has_kernel and layers and layers[-1].shape == shape:
            continue
        class_name = type(called).__name__
        kind = "pooling" if is_pooled else _BLOCKS.get(type(called)) or _KINDS.get(class_name, class_name)
        layers.append(Layer("/".join(path), kind, shape, path, is_unpooled, has_kernel))
    places = np.unique(np.linspace(0, len(layers) - 1, min(len(layers), _MOST_LAYERS)).round().astype(int))
    return [layers[place] for place in places]


def _pools(module: nn.Module) -> bool:
    return isinstance(module, ConvBlock) and module.pool


def _kernel_of(variables: PyTree, path: Sequence[str]) -> Any:
    """The parameter ``kernel`` of a module, or None."""
    found: Any = variables.get("params", {})
    for name in (*path, "kernel"):
        found = found.get(name) if hasattr(found, "get") else None
    return found


def layer_weights(variables: PyTree, layer: Layer, unit: int) -> Float[np.ndarray, "..."] | None:
    """Returns the weights of a map ``[height, width, inputs]`` or unit ``[inputs]``, None without any."""
    kernel = _kernel_of(variables, layer.path) if layer.has_kernel else None
    if kernel is None or kernel.ndim not in (2, 4) or not 0 <= unit < kernel.shape[-1]:
        return None
    return np.asarray(kernel[..., unit], np.float32)


def run_layers(
    module: nn.Module,
    variables: PyTree,
    tones: Float[Array, "batch height width channels"],
    layers: Sequence[Layer],
    added: Sequence[Array] | None = None,
) -> tuple[Float[Array, "batch classes"], list[Array]]:
    """Runs a network and keeps the output of layers, each ``[batch, *layer.shape]`` in float32.

    Args:
        module: called as ``module.apply(variables, tones, train=False)``.
        variables: of the module.
        tones: images in [0, 1].
        layers: of `find_layers`.
        added: what is added to each layer's output on its way, by which the output can be derived.
    """
    places = {(layer.path, layer.is_unpooled): place for place, layer in enumerate(layers)}
    found: dict[int, Array] = {}

    def keep(next_fun: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        called, path = context.module, context.module.path
        if context.method_name != "__call__" or not path:
            return next_fun(*args, **kwargs)
        if (path, True) in places:
            block: Any = called.clone(parent=None, pool=False)
            maps = keep_one((path, True), block.apply(called.variables, *args, **kwargs))
            output = max_pool2d(maps, 2, called.implementation)
        else:
            output = next_fun(*args, **kwargs)
        return keep_one((path, False), output)

    def keep_one(key: tuple[tuple[str, ...], bool], output: Any) -> Any:
        place = places.get(key)
        if place is None or place in found:
            return output
        if added is not None:
            output = output + added[place].astype(output.dtype)
        found[place] = output.astype(jnp.float32)
        return output

    with nn.intercept_methods(keep):
        logits: Any = module.apply(variables, tones, train=False)
    return logits.astype(jnp.float32), [found[place] for place in range(len(layers))]


@functools.partial(jax.jit, static_argnums=(0, 3))
def explain_layers(
    module: nn.Module,
    variables: PyTree,
    tones: Float[Array, "height width channels"],
    layers: tuple[Layer, ...],
) -> tuple[Float[Array, " classes"], list[Array], list[Array]]:
    """Returns what each layer gives for one image, and how much each of its units speaks for the answer.

    Returns:
        the logits; of the image and of each layer the output after a ReLU; and of both its product with the
        gradient of the likeliest class's logit, which says to first order how much of the logit would be gone
        without the unit (gradient times input: Shrikumar et al. 2016, arXiv:1605.01713).
    """

    def logit(tones: Array, added: list[Array]) -> tuple[Array, tuple[Array, list[Array]]]:
        logits, outputs = run_layers(module, variables, tones[None], layers, added)
        return logits[0].max(), (logits[0], outputs)

    zeros = [jnp.zeros((1, *layer.shape)) for layer in layers]
    gradients, (logits, outputs) = jax.grad(logit, argnums=(0, 1), has_aux=True)(tones, zeros)
    activations = [tones, *(nn.relu(output[0]) for output in outputs)]
    slopes = [gradients[0], *(gradient[0] for gradient in gradients[1])]
    return logits, activations, [a * slope for a, slope in zip(activations, slopes, strict=True)]


def receptive_fields(
    module: nn.Module, variables: PyTree, image_shape: Sequence[int], layers: Sequence[Layer]
) -> list[tuple[Int[np.ndarray, "rows 2"], Int[np.ndarray, "columns 2"]]]:
    """Returns which rows of the image each row of a layer sees, and which columns each column.

    Each row and each column of a black image is made very bright in turn. With weights that are all positive,
    every unit that looks at it answers otherwise than to black, whatever the layers are.

    Returns:
        for each layer first and last + 1 of the rows seen, and of the columns; one row and one column for a
        layer without space.
    """
    height, width, channels = image_shape
    images = np.zeros((height + width + 1, height, width, channels), np.float32)
    images[np.arange(height), np.arange(height)] = _BRIGHT
    images[height + np.arange(width), :, np.arange(width)] = _BRIGHT
    run = jax.jit(lambda variables, images: run_layers(module, variables, images, layers)[1])
    fields = []
    for output in jax.device_get(run(jax.tree.map(jnp.abs, variables), images)):
        spatial = output if output.ndim == 4 else output[:, None, None, :]
        black = spatial[-1]
        seen = np.abs(spatial - black) > 1e-4 * np.abs(black) + 1e-6
        rows = seen[:height].any(axis=(2, 3)).T
        columns = seen[height:-1].any(axis=(1, 3)).T
        fields.append((_ranges(rows), _ranges(columns)))
    return fields


def _ranges(seen: np.ndarray) -> Int[np.ndarray, "rows 2"]:
    last = seen.shape[1] - seen[:, ::-1].argmax(axis=1)
    return np.stack([seen.argmax(axis=1), np.where(seen.any(axis=1), last, 0)], axis=1)
