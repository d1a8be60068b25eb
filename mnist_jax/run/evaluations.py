"""The evaluations of a run: each split on the device, compiled once, timed and written down."""

import time

import numpy as np

from mnist_jax.errors import RunError
from mnist_jax.models.forward import forward_fn
from mnist_jax.run.datasets import RunData
from mnist_jax.run.experiment import Experiment
from mnist_jax.run.log import RunLog
from mnist_jax.run.summary import RunTotals
from mnist_jax.training.evaluation import EvaluationResult, Evaluator
from mnist_jax.training.state import TrainState


def make_evaluator(experiment: Experiment) -> Evaluator:
    """Prepares the evaluation of an experiment's network; nothing is compiled yet."""
    return Evaluator(
        forward_fn(experiment.model),
        batch_size=experiment.config.eval_batch_size,
        num_classes=experiment.num_classes,
        batch_sharding=experiment.layout.batch,
    )


class Evaluations:
    """Evaluates a state on ``validation`` or ``test``, with the average of the weights where there is one."""

    def __init__(self, experiment: Experiment, data: RunData, log: RunLog, totals: RunTotals):
        """Puts the images on every device; ``log`` gets a line of each evaluation, ``totals`` the seconds."""
        splits = {"test": data.test}
        if data.validation is not None:
            splits["validation"] = data.validation
        layout = experiment.layout
        self._data = {name: layout.replicate((s.images, s.labels)) for name, s in splits.items()}
        self._evaluator = make_evaluator(experiment)
        self._log, self._totals = log, totals

    @property
    def compile_seconds(self) -> float:
        """Tracing and compiling so far."""
        return self._evaluator.function.compile_seconds

    def compile(self, state: TrainState) -> None:
        """Compiles the evaluation of each split."""
        self._log.progress.phase("compiling")
        for images, labels in self._data.values():
            self._evaluator.function.compiled(state.eval_variables(), images, labels)

    def __call__(self, state: TrainState, step: int, split: str, write: bool = True) -> EvaluationResult:
        """Evaluates a split after ``step`` steps.

        Args:
            state: the state then, or with early stopping the one that is kept.
            step: training steps done.
            split: ``validation`` or ``test``.
            write: whether ``metrics.jsonl`` gets a line.

        Raises:
            RunError: the loss is not finite.
        """
        self._log.progress.phase("evaluating")
        started = time.perf_counter()
        result = self._evaluator(state.eval_variables(), *self._data[split])
        seconds = time.perf_counter() - started
        self._totals.eval_seconds += seconds
        if not np.isfinite(result.loss):
            raise RunError(
                f"the loss of the evaluation after step {step} is not finite; expected a finite one: "
                "try a lower optim.learning_rate. The checkpoints before it are untouched"
            )
        if write:
            self._log.evaluated(result, step, split, seconds, int(state.step))
        return result
