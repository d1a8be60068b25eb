"""``summary.json``: what a run reached, on what data, with what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_jax.data import Dataset
from mnist_jax.data.writers import count_disputed_errors
from mnist_jax.metrics.diagnosis import find_problems
from mnist_jax.models.registry import count_parameters
from mnist_jax.run.early_stopping import NEVER, EarlyStopping
from mnist_jax.run.experiment import Experiment
from mnist_jax.runtime.environment import peak_host_memory_bytes, provenance
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.evaluation import EvaluationResult
from mnist_jax.training.state import TrainState


@dataclass
class RunTotals:
    """What a run has spent and reached so far; saved with each checkpoint."""

    train_seconds: float = 0.0  # device work of training
    eval_seconds: float = 0.0  # evaluation
    compile_seconds: float = 0.0  # tracing and compiling
    epoch_seconds: float = 0.0  # training within the epoch under way
    # ``{"step", "epoch", "split", "accuracy"}``: the highest validation accuracy, or, where no validation
    # split is held out, the latest evaluation, for nothing may be chosen on test.
    best: dict[str, Any] | None = None
    # The validation metric that an improvement is measured from, and the epochs since it was reached.
    reference: float | None = None
    waited_epochs: int = 0

    def add_training(self, seconds: float) -> None:
        """Adds the device work of a call."""
        self.train_seconds += seconds
        self.epoch_seconds += seconds

    def end_epoch(
        self,
        step: int,
        steps_per_epoch: int,
        split: str,
        result: EvaluationResult,
        rule: EarlyStopping = NEVER,
    ) -> None:
        """Takes note of what an epoch reached on ``split``; ``rule`` says what is better."""
        self.epoch_seconds = 0.0
        value = getattr(result, rule.metric)
        if self.best is None or split == "test" or rule.is_better(value, self.best[rule.metric]):
            epoch = step // steps_per_epoch
            self.best = {"step": step, "epoch": epoch, "split": split, "accuracy": result.accuracy}
            self.best[rule.metric] = value
        if self.reference is None or rule.is_better(value, self.reference, rule.min_delta):
            self.reference, self.waited_epochs = value, 0
        else:
            self.waited_epochs += 1


def find_warnings(train: Dataset, log: EpochLog, batch_size: int, evaluation: EvaluationResult) -> list[str]:
    """Returns the signs that a training went wrong, from its last epoch and its evaluation on test."""
    num_seen = len(log.num_correct) * batch_size
    return find_problems(
        train_accuracy=int(np.asarray(log.num_correct).sum()) / num_seen,
        train_class_counts=np.bincount(train.labels, minlength=train.num_classes),
        num_train_seen=num_seen,
        confusion=np.asarray(evaluation.confusion_matrix),
        class_names=train.class_names,
    )


def make_summary(
    experiment: Experiment,
    dataset: dict[str, Any],
    state: TrainState,
    evaluation: EvaluationResult,
    totals: RunTotals,
    warnings: Sequence[str] = (),
    last_step: int | None = None,
) -> dict[str, Any]:
    """Puts together what ``summary.json`` holds; docs/files_of_a_run.md tells the meaning of each field.

    With early stopping, training may have ended with a ``last_step`` of its own, and ``state`` be that of an
    epoch before.
    """
    num_steps = experiment.total_steps if last_step is None else last_step
    return {
        "dataset": dataset,
        "test_accuracy": evaluation.accuracy,
        "test_errors": evaluation.errors,
        "test_loss": evaluation.loss,
        **_describe_disputed(dataset, evaluation),
        "per_class_accuracy": evaluation.per_class_accuracy,
        "confusion_matrix": evaluation.confusion_matrix,
        "best": totals.best,
        "warnings": list(warnings),
        **_describe_early_stopping(experiment, int(state.step), num_steps),
        "final_step": int(state.step),
        "epochs": experiment.config.num_epochs,
        "seed": experiment.config.seed,
        "train_seconds": totals.train_seconds,
        "compile_seconds": totals.compile_seconds,
        "eval_seconds": totals.eval_seconds,
        "images_per_second": num_steps * experiment.config.batch_size / totals.train_seconds,
        "steps_per_second": num_steps / totals.train_seconds,
        "num_params": count_parameters(state.params),
        "peak_host_memory_bytes": peak_host_memory_bytes(),
        **provenance(),
    }


def _describe_disputed(dataset: dict[str, Any], evaluation: EvaluationResult) -> dict[str, Any]:
    disputed = count_disputed_errors(dataset.get("test_sha256", ""), evaluation.predicted)
    return {} if disputed is None else {"disputed_labels": disputed}


def _describe_early_stopping(experiment: Experiment, kept_step: int, last_step: int) -> dict[str, Any]:
    rule = experiment.early_stopping
    if not rule.patience:
        return {}
    stopped_early = last_step < experiment.total_steps
    return {
        "early_stopping": {
            "metric": rule.metric,
            "stopped_epoch": last_step // experiment.steps_per_epoch if stopped_early else None,
            "kept_epoch": kept_step // experiment.steps_per_epoch,
            "trained_steps": last_step,
        }
    }
