"""Training against the clock: no evaluation, file or checkpoint between the first step and the last."""

import dataclasses
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mnist_jax.config.check import check
from mnist_jax.run.datasets import load_run_data
from mnist_jax.run.experiment import build_experiment
from mnist_jax.runtime.compilation import CompiledFunction
from mnist_jax.runtime.devices import make_layout
from mnist_jax.training.epoch import EpochLog, RunKeys
from mnist_jax.training.evaluation import Evaluator
from mnist_jax.training.state import TrainState


class Speedrun:
    """A configuration with its data on the device and its programs compiled; seeds are run one by one.

    Attributes:
        experiment: the pieces of the run.
        dataset: the data really used.
        split: what is evaluated: ``validation`` where the configuration holds one out, else ``test``.
        compile_seconds: all programs.
    """

    def __init__(self, config: ConfigDict):
        """Loads the data, compiles everything and runs a few steps to warm up.

        Raises:
            ConfigError: the configuration is wrong.
            DataError: the data is missing or damaged.
        """
        config = check(config)
        data = load_run_data(config)
        train = data.train
        self.dataset = data.facts()["dataset"]
        self.split = data.eval_split
        layout = make_layout()
        self.experiment = build_experiment(
            config,
            layout,
            image_shape=train.image_shape,
            class_names=train.class_names,
            num_train=train.num_examples,
        )
        self._data = jax.device_put((train.images, train.labels), layout.replicated)
        self._evaluated = data.test if data.validation is None else data.validation
        self._static = layout.platform != "cpu"
        self._initialize = CompiledFunction(jax.jit(self._initial))
        self._steps = CompiledFunction(self.experiment.make_train_steps())
        self._evaluator = Evaluator(
            self.experiment.model.apply,
            batch_size=config.eval_batch_size,
            num_classes=self.experiment.num_classes,
            batch_sharding=layout.batch,
        )
        self._warm_up()
        functions = (self._initialize, self._steps, self._evaluator.function)
        self.compile_seconds = sum(function.compile_seconds for function in functions)

    def run(self, seed: int) -> dict[str, Any]:
        """Trains one seed and evaluates its last step once."""
        keys = jax.block_until_ready(
            jax.device_put(RunKeys.from_seed(seed), self.experiment.layout.replicated)
        )
        cpu, start = time.process_time(), time.perf_counter()
        state, log = self._initialize(keys)
        for _ in range(self.experiment.config.num_epochs):
            state, log = self._call(state, log, keys, self.experiment.steps_per_epoch)
        jax.block_until_ready((state, log))
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        result = self._evaluator(state.eval_variables(), self._evaluated.images, self._evaluated.labels)
        return {
            "seed": seed,
            "accuracy": result.accuracy,
            "errors": result.errors,
            "loss": result.loss,
            "train_seconds": seconds,
            "cpu_seconds": cpu_seconds,
        }

    def _initial(self, keys: RunKeys) -> tuple[TrainState, EpochLog]:
        # The keys are an argument here, so that one program serves all seeds.
        experiment = dataclasses.replace(self.experiment, keys=keys)
        return experiment.create_state(), experiment.create_log()

    def _call(
        self, state: TrainState, log: EpochLog, keys: RunKeys, num_steps: int
    ) -> tuple[TrainState, EpochLog]:
        if self._static:
            return self._steps(state, log, *self._data, keys, num_steps=num_steps)
        return self._steps(state, log, *self._data, keys, np.int32(num_steps))

    def _warm_up(self) -> None:
        keys = self.experiment.keys
        # An accelerator's program is compiled for its length, so only the real one warms up.
        length = self.experiment.steps_per_epoch if self._static else min(5, self.experiment.steps_per_epoch)
        state, _ = jax.block_until_ready(self._call(*self._initialize(keys), keys, length))
        self._evaluator(state.eval_variables(), self._evaluated.images, self._evaluated.labels)
