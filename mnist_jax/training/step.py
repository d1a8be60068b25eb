"""One step of training and one of evaluation, as pure functions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from mnist_jax.metrics.sums import EvaluationSums, Metrics
from mnist_jax.training.augment.batch import change_batch
from mnist_jax.training.draws import AugmentFn, StepDraws, draw_step
from mnist_jax.training.state import TrainState


def preprocess(
    images: Shaped[Array, "batch height width channels"],
) -> Float[Array, "batch height width channels"]:
    """Rescales uint8 pixels to float32 in [0, 1]; floating-point images pass as they are."""
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(jnp.float32)
    return images.astype(jnp.float32) / 255.0


def train_step(
    state: TrainState,
    batch: dict[str, Array],
    key: jax.Array | StepDraws,
    *,
    augment_fn: AugmentFn | None = None,
    plain_from: int | None = None,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
    statistics_momentum: float | None = None,
    share_batch: Callable[[Any], Any] = lambda gradient_fn: gradient_fn,
) -> tuple[TrainState, Metrics]:
    """Does one update.

    Args:
        state: where training stands; step N draws the same numbers whether or not the run stopped before.
        batch: ``{"image": uint8 or float [B, H, W, C], "label": int32 [B]}``; labels may be distributions,
            float32 ``[B, classes]``, and the likeliest class then counts as a hit.
        key: typed key of the run; the step is folded in here, then split between augmentation and dropout. Or
            what `draw_step` made of both.
        augment_fn: ``(key, images float32 [B, H, W, C]) -> images``, or None; its ``mix``, if any, is next.
        plain_from: the first step of those whose images ``augment_fn`` leaves alone; None for none.
        label_smoothing: share of the target spread evenly over all classes (Szegedy et al. 2016), in [0, 1).
        ema_decay: share of the old average kept by ``state.ema``, in [0, 1). Early on the share is (1 + n) /
            (10 + n) where that is less, so that the first values are soon forgotten.
        statistics_momentum: share of the old BatchNorm statistics kept by ``state.batch_stats``, limited in
            the same way, for a model whose BatchNorm returns the moments of the batch (momentum 0); None for
            one that keeps running statistics itself, as Keras does.
        share_batch: spreads the gradient function over devices, see `data_parallel`; else the compiler does.

    Returns:
        the next state and the sums of this batch.
    """
    images, labels = preprocess(batch["image"]), batch["label"]
    draws = key if isinstance(key, StepDraws) else draw_step(key, state.step, images.shape, augment_fn)
    is_changed = None if plain_from is None else state.step < plain_from
    images, labels = change_batch(augment_fn, draws.augment, images, labels, is_changed)

    def loss_fn(params: PyTree, images: Array, labels: Array) -> tuple[Array, tuple[Metrics, PyTree]]:
        logits, updates = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            rngs={"dropout": draws.dropout},
            mutable=["batch_stats"],
        )
        targets = labels if labels.ndim == 2 else jax.nn.one_hot(labels, logits.shape[-1])
        losses = optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, label_smoothing))
        hits = jnp.argmax(logits, axis=-1) == (jnp.argmax(labels, axis=-1) if labels.ndim == 2 else labels)
        return jnp.mean(losses), (Metrics.from_batch(losses, hits), updates.get("batch_stats", {}))

    gradient_fn = share_batch(jax.grad(loss_fn, has_aux=True))
    gradients, (metrics, batch_stats) = gradient_fn(state.params, images, labels)
    updates, opt_state = state.tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema is not None:
        ema = _average(ema, {"params": params, "batch_stats": batch_stats}, ema_decay, state.step)
    if statistics_momentum is not None:
        # So far they are the moments of this batch alone.
        batch_stats = _average(state.batch_stats, batch_stats, statistics_momentum, state.step)
    new_state = state.replace(
        step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state, ema=ema
    )
    return new_state, metrics


def _average(old: PyTree, new: PyTree, decay: float, step: Int[Array, ""]) -> PyTree:
    """Moves an exponential moving average on; of the first steps it is nearly their plain mean."""
    count = step.astype(jnp.float32)
    rate = 1.0 - jnp.minimum(decay, (1.0 + count) / (10.0 + count))
    return jax.tree.map(lambda a, b: a + rate * (b - a), old, new)


def eval_step(
    apply_fn: Callable[..., Any],
    variables: dict[str, PyTree],
    images: Shaped[Array, "batch height width channels"],
    labels: Int[Array, " batch"],
    mask: Bool[Array, " batch"],
) -> tuple[EvaluationSums, Int[Array, " batch"]]:
    """Evaluates one batch without changing anything.

    Args:
        apply_fn: the module's ``apply``.
        variables: ``{"params", "batch_stats"}``.
        images: uint8 or float ``[B, H, W, C]``.
        labels: int32 ``[B]``.
        mask: bool ``[B]``, False where a row is padding.

    Returns:
        sums over the rows that are not padding, and the likeliest class of each row.
    """
    logits = apply_fn(variables, preprocess(images), train=False)
    return EvaluationSums.from_logits(logits, labels, mask), jnp.argmax(logits, axis=-1)
