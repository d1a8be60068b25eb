"""The network's answer to every image of a data set, in batches inside one call."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from mnist_jax.metrics.predictions import confusion_matrix
from mnist_jax.training.draws import AugmentFn
from mnist_jax.training.evaluation import EvaluationResult, images_at_a_time
from mnist_jax.training.step import preprocess


def make_logits_fn(apply_fn: Callable[..., Any], batch_size: int) -> Callable[..., Array]:
    """Compiles ``logits(variables, images) -> float32 [N, classes]``.

    At a time ``batch_size`` images at most, see `evaluation.images_at_a_time`.
    """

    def logits(
        variables: dict[str, PyTree], images: Shaped[Array, "examples height width channels"]
    ) -> Float[Array, "examples classes"]:
        def of_batch(_: Array, batch: Array) -> Array:
            return apply_fn(variables, preprocess(batch), train=False)

        return _in_batches(of_batch, images, images_at_a_time(batch_size, images.shape))

    return jax.jit(logits)


def make_view_probabilities_fn(
    apply_fn: Callable[..., Any], augment_fn: AugmentFn, batch_size: int
) -> Callable[..., Array]:
    """Compiles ``probabilities(variables, images, key, num_views) -> float32 [N, classes]``.

    They are averaged over the image itself and ``num_views`` randomly changed copies. An answer that holds
    for all of them is more often right than one that is merely sure of the image as it is; MixMatch
    (Berthelot et al. 2019) guesses labels in this way.
    """

    def probabilities(
        variables: dict[str, PyTree],
        images: Shaped[Array, "examples height width channels"],
        key: jax.Array,
        num_views: int,
    ) -> Float[Array, "examples classes"]:
        def of_batch(start: Array, batch: Array) -> Array:
            plain = preprocess(batch)
            keys = jax.random.split(jax.random.fold_in(key, start), num_views)

            def answer(view: Array) -> Array:
                return jax.nn.softmax(apply_fn(variables, view, train=False))

            total = jax.lax.fori_loop(
                0, num_views, lambda i, total: total + answer(augment_fn(keys[i], plain)), answer(plain)
            )
            return total / (num_views + 1)

        return _in_batches(of_batch, images, batch_size)

    return jax.jit(probabilities, static_argnums=3)


def _in_batches(
    of_batch: Callable[[Array, Array], Array],
    images: Shaped[Array, "examples height width channels"],
    batch_size: int,
) -> Float[Array, "examples classes"]:
    """Joins ``of_batch(number of the first row, rows)`` over all images.

    The last batch is filled up, and what comes of the filling is dropped.
    """
    num_examples = images.shape[0]
    size = min(batch_size, num_examples)

    def one_batch(start: Array) -> Array:
        rows = jnp.minimum(start + jnp.arange(size), num_examples - 1)
        return of_batch(start, images[rows])

    outputs = jax.lax.map(one_batch, jnp.arange(math.ceil(num_examples / size)) * size)
    return outputs.reshape(-1, outputs.shape[-1])[:num_examples]


def evaluate_logits(
    logits: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> EvaluationResult:
    """Returns the figures that `evaluation.Evaluator` returns, from logits on the host."""
    from scipy.special import log_softmax  # here, because a run without it starts sooner

    losses = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    predicted = logits.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, logits.shape[1])
    return EvaluationResult.from_sums(float(losses.sum()), confusion, predicted)


def headline(result: EvaluationResult) -> dict[str, float | int]:
    """The figures of a line of results: ``accuracy`` (fraction), ``errors``, ``num_examples``, ``loss``."""
    return {name: getattr(result, name) for name in ("accuracy", "errors", "num_examples", "loss")}
