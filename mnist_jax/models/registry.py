"""The networks by name, and what can be said of any network without running it."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from mnist_jax.models.cnn import CNN
from mnist_jax.models.simple_cnn import SimpleCNN
from mnist_jax.models.soft_vote import SoftVote

# Of each network its class and the fields that its name decides. An et al.'s: table 1 of arXiv 2008.10400.
MODELS: Mapping[str, tuple[type[nn.Module], Mapping[str, Any]]] = {
    "cnn": (CNN, {}),
    "simple_m3": (
        SimpleCNN,
        {"features": (32, 48, 64, 80, 96, 112, 128, 144, 160, 176), "kernel_size": 3},
    ),
    "simple_m5": (SimpleCNN, {"features": (32, 64, 96, 128, 160), "kernel_size": 5}),
    "simple_m7": (SimpleCNN, {"features": (48, 96, 144, 192), "kernel_size": 7}),
}


def create_model(name: str, num_classes: int, **fields: Any) -> nn.Module:
    """Builds one of ``MODELS``, of `CNN`'s fields; others take those they have and their name leaves open.

    Raises:
        ValueError: for an unknown name.
        TypeError: for a field that `CNN` does not have.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is not known; expected one of {', '.join(MODELS)}")
    if unknown := fields.keys() - CNN.__dataclass_fields__.keys():
        raise TypeError(f"{', '.join(sorted(unknown))}: CNN has no such field")
    module, decided = MODELS[name]
    own = {field: value for field, value in fields.items() if field in module.__dataclass_fields__}
    return module(num_classes=num_classes, **{**own, **decided})


def with_plain_convolutions(model: nn.Module) -> nn.Module:
    """Returns the network with XLA's own convolutions, which compile sooner.

    It is for looking at a network a few times; on a CPU they must not be inside a loop. Other networks than
    ``MODELS`` and votes of them are returned as they are.
    """
    if isinstance(model, SoftVote):
        return model.clone(members=tuple(map(with_plain_convolutions, model.members)))
    return model.clone(conv="lax") if isinstance(model, CNN | SimpleCNN) else model


def count_parameters(tree: PyTree) -> int:
    """Counts the numbers in all arrays of a pytree."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def summarize_layers(
    model: nn.Module, image_shape: Sequence[int], *, nested: bool = False
) -> list[tuple[str, str, tuple[int | None, ...], int]]:
    """Lists the layers of a model in the order they are called, without computing anything.

    Args:
        model: called as ``model(images, train=...)``.
        image_shape: ``(height, width, channels)``.
        nested: whether layers inside layers are listed, too.

    Returns:
        for each layer its name, its type, its output shape (None for the batch) and its number of parameters,
        statistics included.
    """
    calls: list[tuple[tuple[str, ...], str, tuple[int | None, ...]]] = []

    def record(next_fun: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = next_fun(*args, **kwargs)
        path = context.module.path
        if context.method_name == "__call__" and path and (nested or len(path) == 1):
            # A layer of a person's own may give several arrays.
            first = jax.tree.leaves(output)[0]
            calls.append((path, type(context.module).__name__, (None, *first.shape[1:])))
        return output

    def init(images: Array) -> Any:
        key = jax.random.key(0)
        return plain.init({"params": key, "dropout": key}, images, train=False)

    plain = with_plain_convolutions(model)
    with nn.intercept_methods(record):
        variables = jax.eval_shape(init, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    return [
        (path[-1], kind, shape, sum(_count_below(tree, path) for tree in variables.values()))
        for path, kind, shape in calls
    ]


def _count_below(tree: Mapping[str, Any], path: Sequence[str]) -> int:
    return count_parameters(functools.reduce(lambda inner, name: inner.get(name, {}), path, tree))
