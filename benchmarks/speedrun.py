"""Training against the clock: no evaluation, file or checkpoint between the first step and the last."""

import time
from typing import Any

import jax
from ml_collections import ConfigDict

from mnist_jax.config.check import check
from mnist_jax.run.datasets import load_run_data
from mnist_jax.run.experiment import experiment_for
from mnist_jax.runtime.compilation import CompiledFunction
from mnist_jax.runtime.devices import make_layout
from mnist_jax.training.compiled_steps import CompiledSteps
from mnist_jax.training.epoch import RunKeys
from mnist_jax.training.epoch_log import EpochLog
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
        config, data = load_run_data(config)
        train = data.train
        self.dataset = data.facts()["dataset"]
        self.split = data.eval_split
        layout = make_layout()
        self.experiment = experiment_for(config, layout, train)
        self._images, self._labels = jax.device_put((train.images, train.labels), layout.replicated)
        self._evaluated = data.test if data.validation is None else data.validation
        self._initialize = CompiledFunction(self.experiment.initialize)
        self._program = CompiledFunction(self.experiment.jit_train_steps(), self.experiment.compiler_options)
        self._evaluator = Evaluator(
            self.experiment.model.apply,
            batch_size=config.eval_batch_size,
            num_classes=self.experiment.num_classes,
            batch_sharding=layout.batch,
        )
        self._warm_up()
        functions = (self._initialize, self._program, self._evaluator.function)
        self.compile_seconds = sum(function.compile_seconds for function in functions)

    def run(self, seed: int) -> dict[str, Any]:
        """Trains one seed and evaluates its last step once."""
        keys = jax.block_until_ready(
            jax.device_put(RunKeys.from_seed(seed), self.experiment.layout.replicated)
        )
        cpu, start = time.process_time(), time.perf_counter()
        state, log = self._initial(keys)
        steps = self._steps(keys)
        for _ in range(self.experiment.config.num_epochs):
            state, log, _ = steps.run(state, log, self.experiment.steps_per_epoch)
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
        # The key is an argument here, so that one program serves all seeds.
        return self.experiment.layout.replicate(self._initialize(keys.params)), self.experiment.create_log()

    def _steps(self, keys: RunKeys) -> CompiledSteps:
        static_length = self.experiment.static_length
        return CompiledSteps(self._program, self._images, self._labels, keys, static_length)

    def _warm_up(self) -> None:
        keys = self.experiment.keys
        # An accelerator's program is compiled for its length, so only the real one warms up.
        epoch = self.experiment.steps_per_epoch
        length = epoch if self.experiment.static_length else min(5, epoch)
        state, _, _ = self._steps(keys).run(*self._initial(keys), length)
        self._evaluator(state.eval_variables(), self._evaluated.images, self._evaluated.labels)
