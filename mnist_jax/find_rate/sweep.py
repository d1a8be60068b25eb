"""One pass over the training images while the learning rate rises from update to update."""

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from ml_collections import ConfigDict

from mnist_jax.config.check import check
from mnist_jax.data import Dataset
from mnist_jax.errors import ConfigError
from mnist_jax.find_rate.suggestion import count_used
from mnist_jax.ops.native.library import begin as begin_to_compile
from mnist_jax.run.datasets import load_run_data
from mnist_jax.run.experiment import Experiment, experiment_for
from mnist_jax.run.parts import build_optimizer, group_parameters
from mnist_jax.runtime.devices import device_faults, make_layout
from mnist_jax.terminal.console import RunConsole

FEWEST_UPDATES = 20


@dataclass(frozen=True)
class Sweep:
    """The rates of a sweep and what came of them, for every update of the epoch."""

    rates: Float[np.ndarray, " updates"]  # rising by the same factor
    # Mean over the images of each update, before it, in nats; NaN after the sweep had diverged and ended.
    losses: Float[np.ndarray, " updates"]


def exponential_rates(lowest: float, highest: float, num_updates: int) -> optax.Schedule:
    """A learning rate that rises by the same factor from each update to the next."""
    factor = (highest / lowest) ** (1.0 / (num_updates - 1))
    return lambda update: lowest * factor ** jnp.asarray(update, jnp.float32)


def sweep_rates(config: ConfigDict, lowest: float, highest: float, console: RunConsole) -> Sweep:
    """Trains one epoch as configured, but with rates from ``lowest`` to ``highest``, until the loss diverges.

    The step, the data, their order and all that is drawn are those of a run of this configuration.

    Args:
        config: any configuration; its learning rate and schedule are not used.
        lowest: the first rate.
        highest: the rate of the last update of the epoch, above ``lowest``.
        console: the terminal output.

    Raises:
        ConfigError: the configuration is wrong, by itself or for this data, or an epoch has too few updates.
        DataError: the data is missing or damaged.
        RunError: the device is at fault.
    """
    config = check(config)
    with device_faults("a smaller batch_size"):
        layout = make_layout()
        begin_to_compile(layout.platform)
        config, data = load_run_data(config, layout.num_devices)
        if data.splits.notice:
            console.notice(data.splits.notice)
        experiment = experiment_for(config, layout, data.train)
        steps_per_update = config.optim.accumulation_steps
        num_updates = experiment.steps_per_epoch // steps_per_update
        if num_updates < FEWEST_UPDATES:
            raise ConfigError(
                [
                    f"batch_size: an epoch has {num_updates} updates; expected at least {FEWEST_UPDATES} to "
                    "find a learning rate: take smaller batches or more images"
                ]
            )
        rates = exponential_rates(lowest, highest, num_updates)
        experiment = _with_rates(experiment, rates)
        losses = _train(experiment, data.train, num_updates)
    return Sweep(np.asarray(rates(np.arange(num_updates)), np.float64), losses)


def _with_rates(experiment: Experiment, by_update: optax.Schedule) -> Experiment:
    config = experiment.config
    learning_rate_fn, tx = build_optimizer(config.optim, experiment.total_steps, schedule=by_update)
    return dataclasses.replace(experiment, learning_rate_fn=learning_rate_fn, tx=group_parameters(config, tx))


def _train(experiment: Experiment, train: Dataset, num_updates: int) -> Float[np.ndarray, " updates"]:
    steps_per_update = experiment.config.optim.accumulation_steps
    train_steps, steps_per_call = experiment.compiled_steps(train), experiment.steps_per_call()
    state, log, step = experiment.create_state(), experiment.create_log(), 0
    losses = np.full(num_updates * steps_per_update, np.nan)
    while step < len(losses):
        length = min(steps_per_call.next(step), len(losses) - step)
        state, log, seconds = train_steps.run(state, log, length)
        steps_per_call.measured(length, seconds)
        step += length
        losses[:step] = np.asarray(log.loss_sum, np.float64)[:step] / experiment.config.batch_size
        # How far it goes depends on the machine's pace; what is used of it does not.
        if count_used(_means(losses, steps_per_update)) < step // steps_per_update:
            break
    return _means(losses, steps_per_update)


def _means(losses: Float[np.ndarray, " steps"], count: int) -> Float[np.ndarray, " updates"]:
    return losses.reshape(-1, count).mean(axis=1)
