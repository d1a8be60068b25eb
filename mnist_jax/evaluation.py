"""Evaluation of a whole data set: padded and masked, every example counts once (floor 4)."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, PyTree, Shaped

from mnist_jax.metrics import EvaluationSums, confusion_summary
from mnist_jax.steps import eval_step


@dataclass(frozen=True)
class EvaluationResult:
    """The figures of one pass over a data set.

    Attributes:
        loss: cross-entropy per example, in nats.
        accuracy: fraction.
        errors: number of examples classified wrongly.
        num_examples: number of examples seen, each once.
        per_class_accuracy: a fraction for each class, None for a class without examples.
        confusion_matrix: counts, rows are true classes, columns predicted ones.
    """

    loss: float
    accuracy: float
    errors: int
    num_examples: int
    per_class_accuracy: list[float | None]
    confusion_matrix: list[list[int]]


@functools.partial(jax.jit, static_argnames=("apply_fn", "batch_size", "num_classes", "batch_sharding"))
def _evaluate_on_device(
    apply_fn: Callable[..., Any],
    variables: dict[str, PyTree],
    images: Array,
    labels: Array,
    *,
    batch_size: int,
    num_classes: int,
    batch_sharding: jax.sharding.Sharding | None,
) -> EvaluationSums:
    num_examples = images.shape[0]

    def body(sums: EvaluationSums, start: Array) -> tuple[EvaluationSums, None]:
        positions = start + jnp.arange(batch_size)
        rows = jnp.minimum(positions, num_examples - 1)
        batch = (images[rows], labels[rows], positions < num_examples)
        if batch_sharding is not None:
            batch = lax.with_sharding_constraint(batch, batch_sharding)
        return sums.merge(eval_step(apply_fn, variables, *batch)), None

    starts = jnp.arange(math.ceil(num_examples / batch_size)) * batch_size
    return lax.scan(body, EvaluationSums.empty(num_classes), starts)[0]


def evaluate(
    apply_fn: Callable[..., Any],
    variables: dict[str, PyTree],
    images: Shaped[Array | np.ndarray, "examples height width channels"],
    labels: Int[Array | np.ndarray, " examples"],
    *,
    batch_size: int,
    num_classes: int,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> EvaluationResult:
    """Evaluates every example exactly once, whatever the batch size.

    Args:
        apply_fn: the module's ``apply``.
        variables: ``{"params", "batch_stats"}``.
        images: uint8 or float ``[N, H, W, C]``.
        labels: int32 ``[N]``.
        batch_size: examples at a time; the last batch is padded and masked.
        num_classes: classes of the model.
        batch_sharding: how a batch is spread over devices, or None on one device.

    Raises:
        ValueError: for a batch size below one or an empty data set.
    """
    if batch_size < 1:
        raise ValueError(f"evaluation batch size is {batch_size}; expected at least 1")
    if len(images) == 0:
        raise ValueError("nothing to evaluate: the data set is empty")
    sums = _evaluate_on_device(
        apply_fn,
        variables,
        images,
        labels,
        batch_size=batch_size,
        num_classes=num_classes,
        batch_sharding=batch_sharding,
    )
    confusion = np.asarray(sums.confusion)
    errors, num_examples, per_class = confusion_summary(confusion)
    return EvaluationResult(
        loss=float(sums.loss_sum) / num_examples,
        accuracy=1.0 - errors / num_examples,
        errors=errors,
        num_examples=num_examples,
        per_class_accuracy=per_class,
        confusion_matrix=confusion.tolist(),
    )
