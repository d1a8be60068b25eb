"""The network's answer to every image of a data set, in batches inside one call (floor 4)."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from mnist_jax.steps import preprocess


def make_logits_fn(apply_fn: Callable[..., Any], batch_size: int) -> Callable[..., Array]:
    """Compiles ``logits(variables, images) -> float32 [N, classes]``.

    Args:
        apply_fn: the module's ``apply``.
        batch_size: images at a time; the last batch is filled up and what came of the filling dropped.
    """

    def logits(
        variables: dict[str, PyTree], images: Shaped[Array, "examples height width channels"]
    ) -> Float[Array, "examples classes"]:
        num_examples = images.shape[0]
        size = min(batch_size, num_examples)

        def one_batch(start: Array) -> Array:
            rows = jnp.minimum(start + jnp.arange(size), num_examples - 1)
            return apply_fn(variables, preprocess(images[rows]), train=False)

        outputs = jax.lax.map(one_batch, jnp.arange(math.ceil(num_examples / size)) * size)
        return outputs.reshape(-1, outputs.shape[-1])[:num_examples]

    return jax.jit(logits)


def softmax(logits: Float[np.ndarray, "*batch classes"]) -> Float[np.ndarray, "*batch classes"]:
    """Probabilities in float64, on the host."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def score_logits(
    logits: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> dict[str, float | int]:
    """Gives ``accuracy`` (fraction), ``errors``, ``num_examples`` and ``loss`` (nats per example)."""
    highest = logits.max(axis=1, keepdims=True).astype(np.float64)
    log_sums = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    losses = log_sums - logits[np.arange(len(labels)), labels]
    errors = int((logits.argmax(axis=1) != labels).sum())
    return {
        "accuracy": 1.0 - errors / len(labels),
        "errors": errors,
        "num_examples": len(labels),
        "loss": float(losses.mean()),
    }
