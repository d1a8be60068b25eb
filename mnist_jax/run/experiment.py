"""What a configuration and a data set decide together, built once for every main."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import optax
from jax.sharding import NamedSharding
from ml_collections import ConfigDict

from mnist_jax.config.patterns import parse_patterns
from mnist_jax.data import Dataset
from mnist_jax.errors import ConfigError
from mnist_jax.models.own import is_own
from mnist_jax.run.early_stopping import EarlyStopping
from mnist_jax.run.parts import (
    build_augment_fn,
    build_model,
    build_optimizer,
    check_patterns,
    group_parameters,
)
from mnist_jax.runtime.collectives import broadcast_from_primary
from mnist_jax.runtime.compilation import CompiledFunction, loop_options
from mnist_jax.runtime.devices import Layout
from mnist_jax.training.compiled_steps import CompiledSteps
from mnist_jax.training.data_parallel import share_batch
from mnist_jax.training.draws import AugmentFn, draw_step
from mnist_jax.training.epoch import RunKeys, jit_train_steps, make_train_steps
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.groups import freeze_step, names_of
from mnist_jax.training.state import TrainState, jit_initial_state
from mnist_jax.training.step import train_step
from mnist_jax.training.steps_per_call import StepsPerCall

# In steps: an average of fewer is no average.
_SHORTEST_AVERAGE = 10.0


@dataclass(frozen=True)
class Experiment:
    """The pieces of a run."""

    config: ConfigDict  # checked configuration
    layout: Layout  # the devices
    model: nn.Module  # the network
    image_shape: tuple[int, ...]  # ``(height, width, channels)``
    class_names: tuple[str, ...]  # one a class
    num_train: int  # training images used, after any are held out
    learning_rate_fn: optax.Schedule  # learning rate by step
    tx: optax.GradientTransformation  # the optimizer
    augment_fn: AugmentFn | None  # random changes to a batch, or None
    keys: RunKeys  # the run's random streams
    first_step: int = 0  # that the schedule begins with

    @property
    def num_classes(self) -> int:
        """Width of the model's last layer."""
        return len(self.class_names)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches an epoch."""
        return self.num_train // self.config.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the complete run."""
        return self.steps_per_epoch * self.config.num_epochs

    @property
    def early_stopping(self) -> EarlyStopping:
        """When to stop before the last step, and which epoch is best."""
        return EarlyStopping(**self.config.early_stopping)

    def create_state(self, start: Callable[[TrainState], TrainState] = lambda state: state) -> TrainState:
        """Initializes the state of step 0 on every device; ``start`` may put trained variables into it."""
        state = self.initialize(self.keys.params)
        return self.layout.replicate(broadcast_from_primary(start(state)))

    @functools.cached_property
    def initialize(self) -> Callable[[jax.Array], TrainState]:
        """The jitted function from a key to the state of step 0, see ``state.jit_initial_state``."""
        use_ema = self.config.optim.ema_fraction > 0
        return jit_initial_state(self.model, self.image_shape, self.tx, use_ema=use_ema)

    def create_log(self) -> EpochLog:
        """Makes the empty log of an epoch on every device."""
        return self.layout.replicate(EpochLog.on_host(self.steps_per_epoch))

    def abstract_checkpoint(self) -> dict[str, Any]:
        """Shapes, dtypes and today's shardings of what a checkpoint of this run holds."""
        state = jax.eval_shape(self.initialize, self.keys.params)
        log = jax.eval_shape(lambda: EpochLog.empty(self.steps_per_epoch))
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.layout.replicated),
            {"state": state, "log": log},
        )

    def compiled_steps(self, train: Dataset) -> CompiledSteps:
        """Puts the training images on every device, once, for the steps to be done there."""
        images, labels, keys = self.layout.replicate((train.images, train.labels, self.keys))
        function = CompiledFunction(self.jit_train_steps(), self.compiler_options)
        return CompiledSteps(function, images, labels, keys, self.static_length)

    def steps_per_call(self, num_members: int = 1) -> StepsPerCall:
        """Decides how the steps of a run, or of members side by side, are cut into calls."""
        checkpoint = self.config.checkpoint
        return StepsPerCall(
            steps_per_epoch=self.steps_per_epoch,
            batch_size=self.config.batch_size * num_members,
            checkpoint_every_steps=checkpoint.every_steps if checkpoint.enabled and num_members == 1 else 0,
            steps_per_call=self.config.steps_per_call,
            adaptive=not self.static_length,
        )

    @property
    def static_length(self) -> bool:
        """Whether the number of steps of a call is compiled in, which spares an accelerator's host."""
        return self.layout.platform != "cpu"

    @property
    def compiler_options(self) -> dict[str, str | bool]:
        """What `CompiledFunction` is to ask of the compiler for many steps."""
        return loop_options(self.config.gpu_graph, self.layout.platform)

    def jit_train_steps(self) -> Any:
        """The jitted function that does many steps in one call, see ``epoch.jit_train_steps``."""
        return jit_train_steps(**self._step_options(self.layout.batch))

    def make_train_steps(self, batch_sharding: NamedSharding | None) -> Any:
        """The same not yet compiled and for another spread of the batch, see ``epoch.make_train_steps``."""
        return make_train_steps(**self._step_options(batch_sharding))

    def _step_options(self, batch_sharding: NamedSharding | None) -> dict[str, Any]:
        optim, model = self.config.optim, self.config.model
        num_steps, is_ours = self.total_steps - self.first_step, not is_own(model.name)
        frozen, plain = parse_patterns(self.config.init.freeze), self.config.augment.plain_fraction
        sharding = batch_sharding if self.layout.platform == "cpu" and is_ours else None
        step = functools.partial(
            train_step,
            augment_fn=self.augment_fn,
            plain_from=self.total_steps - round(plain * num_steps) if plain else None,
            label_smoothing=optim.label_smoothing,
            ema_decay=1.0 - 1.0 / max(optim.ema_fraction * num_steps, _SHORTEST_AVERAGE),
            # A network of one's own keeps running statistics itself, and may sum over the batch anywhere.
            statistics_momentum=model.batch_norm_momentum if model.batch_norm_warmup and is_ours else None,
            share_batch=share_batch(sharding, frozen),
        )
        batch_shape = (self.config.batch_size, *self.image_shape)
        return {
            "train_step": freeze_step(step, frozen) if frozen else step,
            "batch_sharding": batch_sharding,
            "batch_size": self.config.batch_size,
            "num_examples": self.num_train,
            "static_length": self.static_length,
            "draw_step": lambda key, step: draw_step(key, step, batch_shape, self.augment_fn),
        }


def experiment_for(
    config: ConfigDict, layout: Layout, train: Dataset, *, num_train: int = 0, **more: Any
) -> Experiment:
    """As `build_experiment`, for these images; ``num_train`` stands for another number of them."""
    return build_experiment(
        config,
        layout,
        image_shape=train.image_shape,
        class_names=train.class_names,
        num_train=num_train or train.num_examples,
        **more,
    )


def build_experiment(
    config: ConfigDict,
    layout: Layout,
    *,
    image_shape: Sequence[int],
    class_names: Sequence[str],
    num_train: int,
    optimizer: optax.GradientTransformation | None = None,
    first_step: int = 0,
    model: Any = None,
    is_trained: bool = True,
) -> Experiment:
    """Builds everything a run needs but its data; the keys as shapes alone where nothing ``is_trained``.

    An ``optimizer`` replaces that of ``config.optim.name``, a ``model`` that of ``config.model.name``.

    The schedule spans the steps from ``first_step`` on: those before were done before the run was extended.

    Raises:
        ConfigError: where the network does not fit the images, or the batch does not divide over the devices.
    """
    if config.batch_size % layout.num_devices:
        raise ConfigError(
            [
                f"batch_size: {config.batch_size} does not divide over {layout.num_devices} devices; "
                "expected a multiple of it"
            ]
        )
    network = build_model(config, len(class_names), layout.platform, tuple(image_shape), model)
    total_steps = num_train // config.batch_size * config.num_epochs
    learning_rate_fn, tx = build_optimizer(config.optim, total_steps, optimizer, first_step)
    if optimizer is not None:
        # Only the optimizer knows it.
        learning_rate_fn = optax.constant_schedule(float("nan"))
    make_keys = functools.partial(RunKeys.from_seed, config.seed)
    experiment = Experiment(
        config=config,
        layout=layout,
        model=network,
        image_shape=tuple(image_shape),
        class_names=tuple(class_names),
        num_train=num_train,
        learning_rate_fn=learning_rate_fn,
        tx=group_parameters(config, tx),
        augment_fn=build_augment_fn(config.augment, layout.platform, len(class_names)),
        keys=make_keys() if is_trained else jax.eval_shape(make_keys),
        first_step=first_step,
    )
    try:
        state = experiment.abstract_checkpoint()["state"]
    except ValueError as error:
        raise ConfigError([f"model: {error}"]) from error
    check_patterns(config, names_of(state.params), names_of(state.batch_stats))
    return experiment
