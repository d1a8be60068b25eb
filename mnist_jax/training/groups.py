"""Parts of a network by the names of their variables: some frozen, some with a learning rate of their own."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import flax.linen as nn
import jax
import optax
from jaxtyping import Array, PyTree

from mnist_jax.metrics.sums import Metrics
from mnist_jax.models.layers import BatchNorm, ConvBlock, DenseBlock
from mnist_jax.training.state import TrainState

Step = Callable[[TrainState, dict[str, Array], jax.Array], tuple[TrainState, Metrics]]


def matches(name: str, pattern: str) -> bool:
    """Whether a glob matches a variable's name, such as ``conv0/bn/scale``, or that of a layer it is in."""
    parts = name.split("/")
    return any(fnmatchcase("/".join(parts[:length]), pattern) for length in range(1, len(parts) + 1))


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of several patterns matches, see `matches`."""
    return any(matches(name, pattern) for pattern in patterns)


def names_of(tree: PyTree) -> list[str]:
    """The names of all variables of a collection, layer by layer: ``conv0/bn/scale`` and so on."""
    return [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def freeze_optimizer(
    tx: optax.GradientTransformation, patterns: Sequence[str]
) -> optax.GradientTransformation:
    """An optimizer that neither moves nor measures the parameters that the patterns match.

    Their gradients count in no norm, and it keeps no state for them.
    """

    def labels(params: PyTree) -> PyTree:
        return map_names(lambda name, _: "frozen" if matches_any(name, patterns) else "trained", params)

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)


def scale_rates(
    tx: optax.GradientTransformation, scales: Mapping[str, float]
) -> optax.GradientTransformation:
    """An optimizer with the learning rate multiplied where a pattern matches; the first that does decides."""

    def scale(name: str, update: Array) -> Array:
        factor = next((factor for pattern, factor in scales.items() if matches(name, pattern)), 1.0)
        return update if factor == 1.0 else update * factor

    return optax.chain(tx, optax.stateless(lambda updates, params: map_names(scale, updates)))


def freeze_step(train_step: Step, patterns: Sequence[str]) -> Step:
    """A training step that leaves the variables that the patterns match as they are, bit for bit.

    That holds for parameters, BatchNorm's statistics and the average of both. A BatchNorm whose statistics
    are frozen normalizes with them instead of with those of the batch: Flax' own and that of
    ``models.layers``.

    Args:
        train_step: ``(state, batch, key) -> (state, metrics)``, its optimizer from `freeze_optimizer`.
        patterns: see `matches`.
    """

    def keep(old: PyTree, new: PyTree) -> PyTree:
        return map_names(
            lambda name, before, after: before if matches_any(name, patterns) else after, old, new
        )

    def step(state: TrainState, batch: dict[str, Array], key: Any) -> tuple[TrainState, Metrics]:
        with nn.intercept_methods(functools.partial(_use_frozen_statistics, patterns)):
            new, metrics = train_step(state, batch, key)
        ema = new.ema
        if state.ema is not None and ema is not None:
            ema = {collection: keep(state.ema[collection], ema[collection]) for collection in ema}
        kept = new.replace(
            params=keep(state.params, new.params),
            batch_stats=keep(state.batch_stats, new.batch_stats),
            ema=ema,
        )
        return kept, metrics

    return step


def _use_frozen_statistics(
    patterns: Sequence[str],
    next_fun: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """Calls a layer whose BatchNorm is frozen as in evaluation."""
    module, path = context.module, "/".join(context.module.path)
    if context.method_name == "__call__" and path:
        in_a_block = isinstance(module, ConvBlock | DenseBlock)
        if (in_a_block and matches_any(f"{path}/bn/mean", patterns)) or (
            isinstance(module, BatchNorm) and matches_any(f"{path}/mean", patterns)
        ):
            return next_fun(args[0], train=False)
        if isinstance(module, nn.BatchNorm) and matches_any(f"{path}/mean", patterns):
            frozen = module.clone(parent=None, name=None, use_running_average=True)
            return frozen.apply(module.variables, args[0], mask=kwargs.get("mask"))
    return next_fun(*args, **kwargs)


def map_names(function: Callable[..., Any], *trees: PyTree) -> PyTree:
    """Builds a tree of what ``function(name, *leaves)`` returns for each variable, see `names_of`."""
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: function(_name(path), *leaves), *trees)


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
