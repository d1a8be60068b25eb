"""The parts of a run that a configuration names: the network, the augmentation, the optimizer."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from mnist_jax.config.optimizers import OPTIMIZERS
from mnist_jax.config.patterns import parse_patterns, parse_scales
from mnist_jax.errors import ConfigError
from mnist_jax.models.own import create_own_model, is_own
from mnist_jax.models.registry import create_model
from mnist_jax.ops.convolution import resolve_implementation
from mnist_jax.training.augment.affine import RandomAffine
from mnist_jax.training.augment.augmentation import Augmentation
from mnist_jax.training.augment.sampling import resolve_method
from mnist_jax.training.draws import AugmentFn
from mnist_jax.training.groups import freeze_optimizer, matches, matches_any, scale_rates
from mnist_jax.training.learning_rate import create_learning_rate_fn
from mnist_jax.training.optimizer import create_optimizer


def build_model(
    config: ConfigDict,
    num_classes: int,
    platform: str,
    image_shape: tuple[int, ...] = (28, 28, 1),
    given: Any = None,
) -> nn.Module:
    """Builds the network of a configuration, its convolutions lowered for ``platform``.

    Args:
        config: a checked configuration.
        num_classes: classes of the data.
        platform: ``cpu``, ``gpu`` or ``tpu``.
        image_shape: ``(height, width, channels)``.
        given: the network to take instead, see `own.make_module`.

    Raises:
        ConfigError: a network of one's own is not found, or does not fit.
    """
    model = config.model
    if given is not None or is_own(model.name):
        return create_own_model(
            model.name,
            model.kwargs.to_dict(),
            num_classes=num_classes,
            image_shape=image_shape,
            given=given,
        )
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


def build_augment_fn(
    augment: Mapping[str, Any], platform: str | None = None, num_classes: int = 0
) -> AugmentFn | None:
    """Builds the random changes of the section ``augment`` for ``platform``, or None where they are off.

    Images are changed alike for any ``num_classes``; mixed labels have as many.
    """
    if not augment["enabled"]:
        return None
    settings = {name: augment[name] for name in augment if name not in ("enabled", "plain_fraction")}
    settings["method"] = resolve_method(settings["method"], platform)
    of_warp = {field.name for field in dataclasses.fields(RandomAffine)}
    warp = RandomAffine(**{name: value for name, value in settings.items() if name in of_warp})
    others = {name: value for name, value in settings.items() if name not in of_warp}
    is_more = any(value for name, value in others.items() if name != "elastic_sigma")
    return Augmentation(warp, num_classes, **others) if is_more else warp


def build_optimizer(
    optim: ConfigDict,
    total_steps: int,
    given: optax.GradientTransformation | None = None,
    first_step: int = 0,
    schedule: optax.Schedule | None = None,
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """Builds the optimizer of a run.

    Args:
        optim: the section ``optim`` of a checked configuration.
        total_steps: of the run; a schedule spans the updates among them.
        given: used instead of the optimizer that ``optim.name`` names; clipping and accumulation are added
            to it as to any other.
        first_step: of the schedule, where a run was extended; those before it are done.
        schedule: used instead of the learning rate over the updates that the section describes.

    Returns:
        the learning rate by step, and the optimizer.
    """
    steps_per_update = optim.accumulation_steps
    num_updates = max((total_steps - first_step) // steps_per_update, 1)
    schedule = schedule or create_learning_rate_fn(
        optim.schedule,
        optim.learning_rate,
        num_updates,
        warmup_steps=min(round(optim.warmup_fraction * num_updates), num_updates - 1),
        end_fraction=optim.end_learning_rate_fraction,
    )
    by_update = _shift(schedule, first_step // steps_per_update) if first_step else schedule
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


def _shift(schedule: optax.Schedule, first: int) -> optax.Schedule:
    return lambda count: schedule(jnp.maximum(count - first, 0))


def group_parameters(config: ConfigDict, tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Adds to an optimizer what ``init.freeze`` and ``optim.rate_scales`` say of some of the parameters."""
    frozen, scales = parse_patterns(config.init.freeze), parse_scales(config.optim.rate_scales)
    tx = freeze_optimizer(tx, frozen) if frozen else tx
    return scale_rates(tx, scales) if scales else tx


def check_patterns(config: ConfigDict, parameters: Sequence[str], statistics: Sequence[str]) -> None:
    """Makes sure that each pattern of a configuration matches a variable of the network.

    Args:
        config: checked.
        parameters: their names.
        statistics: their names.

    Raises:
        ConfigError: one matches none, or nothing is left to train.
    """
    names = [*parameters, *statistics]
    given = {
        "init.freeze": parse_patterns(config.init.freeze),
        "optim.rate_scales": tuple(parse_scales(config.optim.rate_scales)),
    }
    problems = [
        f"{field}: {pattern!r} matches nothing in this network; expected one of its layers, "
        f"{', '.join(dict.fromkeys(name.split('/')[0] for name in names))}, or of their variables, "
        f"such as {names[0]}"
        for field, patterns in given.items()
        for pattern in patterns
        if not any(matches(name, pattern) for name in names)
    ]
    if all(matches_any(name, given["init.freeze"]) for name in parameters):
        problems.append(f"init.freeze: {config.init.freeze!r} leaves nothing to train")
    if problems:
        raise ConfigError(problems)
