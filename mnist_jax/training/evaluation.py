"""Evaluation of a data set: padded and masked, every example counts once."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree, Shaped

from mnist_jax.metrics.sums import EvaluationSums
from mnist_jax.runtime.compilation import CompiledFunction
from mnist_jax.training.step import eval_step

_PIXELS = 28 * 28
# What the layers of 64 images hold fits a CPU's caches; that of a thousand goes to memory and back, which
# takes longer than the computation.
_MOST_AT_A_TIME_ON_CPU = 64


@dataclass(frozen=True)
class EvaluationResult:
    """The figures of one pass over a data set."""

    loss: float  # cross-entropy per example, in nats
    accuracy: float  # fraction
    errors: int  # number of examples classified wrongly
    num_examples: int  # number of examples seen, each once
    per_class_accuracy: list[float | None]  # a fraction for each class, None for a class without examples
    confusion_matrix: list[list[int]]  # counts, rows are true classes, columns predicted ones
    # int32 [num_examples], the class that each example was taken for; None where only sums are known.
    predicted: np.ndarray | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_sums(
        cls,
        loss_sum: float,
        confusion: Int[np.ndarray, "classes classes"],
        predicted: Int[np.ndarray, " examples"] | None = None,
    ) -> "EvaluationResult":
        """Divides the sums over a data set by its examples."""
        per_class_total, hits = confusion.sum(axis=1), np.diag(confusion)
        num_examples = int(confusion.sum())
        errors = num_examples - int(hits.sum())
        return cls(
            loss=loss_sum / num_examples,
            accuracy=1.0 - errors / num_examples,
            errors=errors,
            num_examples=num_examples,
            per_class_accuracy=[
                int(h) / int(t) if t else None for h, t in zip(hits, per_class_total, strict=True)
            ],
            confusion_matrix=confusion.tolist(),
            predicted=predicted,
        )


def images_at_a_time(batch_size: int, shape: tuple[int, ...], num_shards: int = 1) -> int:
    """Returns how many images ``[N, H, W, C]`` are computed at a time, a multiple of ``num_shards``.

    No more than there are, so that six pictures are not padded to a thousand; of larger ones than 28x28 as
    many as ``batch_size`` of that size have pixels; and on each CPU at most 64.
    """
    num_examples, pixels = shape[0], max(math.prod(shape[1:3]), _PIXELS)
    if jax.default_backend() == "cpu":
        batch_size = min(batch_size, _MOST_AT_A_TIME_ON_CPU * num_shards)
    most = min(num_examples, math.ceil(batch_size / num_shards) * num_shards * _PIXELS // pixels)
    return max(1, math.ceil(most / num_shards)) * num_shards


def _apply_to_own_rows(apply_fn: Callable[..., Any], sharding: NamedSharding) -> Callable[..., Any]:
    """Returns a function of a whole batch of which each device computes its own rows.

    XLA divides its own operations among devices by itself, not functions that it only calls.
    """

    def apply(variables: dict[str, PyTree], images: Array, **options: Any) -> Array:
        return jax.shard_map(
            functools.partial(apply_fn, **options),
            mesh=sharding.mesh,
            in_specs=(PartitionSpec(), sharding.spec),
            out_specs=sharding.spec,
            check_vma=False,
        )(variables, images)

    return apply


def _sum_over_batches(
    apply_fn: Callable[..., Any],
    batch_size: int,
    num_classes: int,
    batch_sharding: NamedSharding | None,
) -> Callable[..., tuple[EvaluationSums, Array]]:
    num_shards = 1 if batch_sharding is None else batch_sharding.mesh.size
    if batch_sharding is not None:
        apply_fn = _apply_to_own_rows(apply_fn, batch_sharding)

    def run(variables: dict[str, PyTree], images: Array, labels: Array) -> tuple[EvaluationSums, Array]:
        num_examples = images.shape[0]
        size = images_at_a_time(batch_size, images.shape, num_shards)

        def body(sums: EvaluationSums, start: Array) -> tuple[EvaluationSums, Array]:
            positions = start + jnp.arange(size)
            rows = jnp.minimum(positions, num_examples - 1)
            if batch_sharding is not None:
                rows = lax.with_sharding_constraint(rows, batch_sharding)
            batch = (images[rows], labels[rows], positions < num_examples)
            if batch_sharding is not None:
                batch = lax.with_sharding_constraint(batch, batch_sharding)
            found, predicted = eval_step(apply_fn, variables, *batch)
            return sums.merge(found), predicted

        starts = jnp.arange(math.ceil(num_examples / size)) * size
        sums, predicted = lax.scan(body, EvaluationSums.empty(num_classes), starts)
        return sums, predicted.ravel()[:num_examples]

    return run


class Evaluator:
    """Evaluates every example of a data set exactly once, whatever the batch size."""

    def __init__(
        self,
        apply_fn: Callable[..., Any],
        *,
        batch_size: int,
        num_classes: int,
        batch_sharding: NamedSharding | None = None,
    ):
        """Prepares evaluation; nothing is compiled before the first call.

        At a time are evaluated ``batch_size`` examples at most (`images_at_a_time`), rounded up to a multiple
        of the devices that share a batch, if any do (``batch_sharding``). The last batch is padded and
        masked.

        Raises:
            ValueError: for a batch size below one.
        """
        if batch_size < 1:
            raise ValueError(f"evaluation batch size is {batch_size}; expected at least 1")
        run = _sum_over_batches(apply_fn, batch_size, num_classes, batch_sharding)
        everywhere = None
        if batch_sharding is not None:
            everywhere = NamedSharding(batch_sharding.mesh, PartitionSpec())
        self.function = CompiledFunction(jax.jit(run, out_shardings=everywhere))

    def __call__(
        self,
        variables: dict[str, PyTree],
        images: Shaped[Array | np.ndarray, "examples height width channels"],
        labels: Int[Array | np.ndarray, " examples"],
    ) -> EvaluationResult:
        """Evaluates ``variables`` (``{"params", "batch_stats"}``) on uint8 or float images and int32 labels.

        Raises:
            ValueError: for an empty data set.
        """
        if len(images) == 0:
            raise ValueError("nothing to evaluate: the data set is empty")
        sums, predicted = self.function(variables, images, labels)
        return EvaluationResult.from_sums(
            float(sums.loss_sum), np.asarray(sums.confusion), np.asarray(predicted)
        )
