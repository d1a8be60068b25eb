"""The parts of a run that a configuration names: the network, the augmentation, the optimizer."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import optax
from ml_collections import ConfigDict

from mnist_jax.config.optimizers import OPTIMIZERS
from mnist_jax.models.registry import create_model
from mnist_jax.ops.convolution import resolve_implementation
from mnist_jax.training.augment import random_affine
from mnist_jax.training.learning_rate import create_learning_rate_fn
from mnist_jax.training.optimizer import create_optimizer
from mnist_jax.training.step import AugmentFn


def build_model(config: ConfigDict, num_classes: int, platform: str) -> nn.Module:
    """Builds the network of a configuration, its convolutions lowered for ``platform``."""
    model = config.model
    return create_model(
        model.name,
        num_classes,
        features=tuple(model.features),
        kernel_size=model.kernel_size,
        pool_after=tuple(model.pool_after),
        dense_features=model.dense_features,
        dropout_rate=model.dropout_rate,
        # With the warm-up the train step averages the moments of the batches, which momentum 0 returns.
        batch_norm_momentum=0.0 if model.batch_norm_warmup else model.batch_norm_momentum,
        batch_norm_epsilon=model.batch_norm_epsilon,
        conv=resolve_implementation(model.conv, platform),
        dtype=model.dtype,
    )


def build_augment_fn(augment: Mapping[str, Any]) -> AugmentFn | None:
    """Builds the random warp of the section ``augment``, or None where it is off."""
    if not augment["enabled"]:
        return None
    return functools.partial(random_affine, **{name: augment[name] for name in augment if name != "enabled"})


def build_optimizer(
    optim: ConfigDict, total_steps: int, given: optax.GradientTransformation | None = None
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """Builds the optimizer of a run.

    Args:
        optim: the section ``optim`` of a checked configuration.
        total_steps: of the run; a schedule spans the updates among them.
        given: used instead of the optimizer that ``optim.name`` names; clipping and accumulation are added
            to it as to any other.

    Returns:
        the learning rate by step, and the optimizer.
    """
    steps_per_update = optim.accumulation_steps
    num_updates = max(total_steps // steps_per_update, 1)
    by_update = create_learning_rate_fn(
        optim.schedule,
        optim.learning_rate,
        num_updates,
        warmup_steps=min(round(optim.warmup_fraction * num_updates), num_updates - 1),
        end_fraction=optim.end_learning_rate_fraction,
    )
    tx = create_optimizer(
        by_update,
        name=optim.name,
        given=given,
        clip_norm=optim.clip_norm,
        accumulation_steps=steps_per_update,
        **{field: optim[field] for field in OPTIMIZERS[optim.name].fields},
    )
    if steps_per_update == 1:
        return by_update, tx
    return lambda step: by_update(step // steps_per_update), tx
