"""The parts of a run that a configuration names: the network, the augmentation, the optimizer."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import optax
from ml_collections import ConfigDict

from mnist_jax.models.registry import create_model
from mnist_jax.ops.convolution import resolve_implementation
from mnist_jax.training.augment import random_affine
from mnist_jax.training.optimizer import create_learning_rate_fn, create_optimizer
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


def build_learning_rate_fn(optim: ConfigDict, total_steps: int) -> optax.Schedule:
    """Builds the learning rate by step of the section ``optim`` for a run of ``total_steps`` steps."""
    return create_learning_rate_fn(
        optim.schedule,
        optim.learning_rate,
        total_steps,
        warmup_steps=min(round(optim.warmup_fraction * total_steps), total_steps - 1),
        end_fraction=optim.end_learning_rate_fraction,
    )


def build_optimizer(optim: ConfigDict, learning_rate_fn: optax.Schedule) -> optax.GradientTransformation:
    """Builds the optimizer of the section ``optim``."""
    return create_optimizer(
        learning_rate_fn, b1=optim.b1, b2=optim.b2, epsilon=optim.epsilon, weight_decay=optim.weight_decay
    )
