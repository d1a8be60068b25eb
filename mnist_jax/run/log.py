"""What a run tells as it goes: lines of ``metrics.jsonl``, the opening, the progress, the end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_jax.data import Dataset, Splits
from mnist_jax.errors import RunError
from mnist_jax.models.cnn import count_parameters, summarize_layers
from mnist_jax.run.experiment import Experiment
from mnist_jax.run.summary import RunTotals
from mnist_jax.runtime.environment import describe_device
from mnist_jax.storage.metrics_log import MetricsWriter
from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.format import format_percent
from mnist_jax.terminal.progress import Progress
from mnist_jax.training.epoch import EpochLog
from mnist_jax.training.evaluation import EvaluationResult
from mnist_jax.training.state import TrainState


@dataclass
class RunLog:
    """Tells people and files what a run does; of several processes only the first one's says anything.

    Attributes:
        experiment: the run.
        splits: the data as loaded.
        train: the images trained on.
        validation: those held out, or None.
        folder: of the run.
        console: what a person sees.
        writer: ``metrics.jsonl`` and TensorBoard.
        totals: the times, kept by whoever measures them.
    """

    experiment: Experiment
    splits: Splits
    train: Dataset
    validation: Dataset | None
    folder: Path
    console: RunConsole
    writer: MetricsWriter
    totals: RunTotals

    @property
    def eval_split(self) -> str:
        """What each epoch is evaluated on."""
        return "test" if self.validation is None else "validation"

    def opening(self, state: TrainState, step: int) -> None:
        """Prints what is about to happen, from ``step`` on."""
        experiment, config = self.experiment, self.experiment.config
        counts = {"train": self.train.num_examples}
        if self.validation is not None:
            counts["validation"] = self.validation.num_examples
        self.console.opening(
            **describe_device(),  # type: ignore[arg-type]
            data_name=self.train.name,
            data_source=self.splits.train.source,
            data_sha256=self.splits.train.sha256,
            num_examples={**counts, "test": self.splits.test.num_examples},
            image_shape=experiment.image_shape,
            num_classes=experiment.num_classes,
            model_name=config.model.name,
            num_params=count_parameters(state.params),
            dtype=config.model.dtype,
            num_epochs=config.num_epochs,
            steps_per_epoch=experiment.steps_per_epoch,
            batch_size=config.batch_size,
            workdir=str(self.folder),
            resume_step=step,
        )
        if step == 0:
            self.console.model_summary(
                summarize_layers(experiment.model, experiment.image_shape),
                num_trainable=count_parameters(state.params),
                num_non_trainable=count_parameters(state.batch_stats),
            )
        if self.writer.notice:
            self.console.note(self.writer.notice)
        if self.validation is None:
            self.console.note(
                "no validation split is held out: each epoch is evaluated on test, and nothing is chosen "
                "by it"
            )

    def open_progress(self, step: int) -> Progress:
        """Makes the bar or the lines of a run that goes on after ``step``; a context manager."""
        self.progress = Progress(
            self.console,
            num_epochs=self.experiment.config.num_epochs,
            steps_per_epoch=self.experiment.steps_per_epoch,
            batch_size=self.experiment.config.batch_size,
            first_step=step,
        )
        return self.progress

    def after_call(self, log: EpochLog, step: int, length: int, seconds: float) -> None:
        """Moves the progress and writes the lines that became due in the last call.

        Args:
            log: of the epoch under way.
            step: steps done.
            length: steps of the call.
            seconds: it took.

        Raises:
            RunError: a loss of the call is not finite, or the disk refuses a line.
        """
        experiment, config = self.experiment, self.experiment.config
        epoch, end = divmod(step - 1, experiment.steps_per_epoch)
        end += 1
        losses, correct = np.asarray(log.loss_sum, np.float64), np.asarray(log.num_correct)
        self._check_losses(losses, step, end, length)
        rate = length * config.batch_size / seconds
        for line_end in range(end - length + 1, end + 1):
            if line_end % config.log_every_steps and line_end != experiment.steps_per_epoch:
                continue
            start = (line_end - 1) // config.log_every_steps * config.log_every_steps
            line_step = step - end + line_end
            num_images = (line_end - start) * config.batch_size
            self.writer.write(
                step=line_step,
                epoch=epoch + 1,
                split="train",
                loss=losses[start:line_end].sum() / num_images,
                accuracy=correct[start:line_end].sum() / num_images,
                learning_rate=float(experiment.learning_rate_fn(line_step - 1)),
                images_per_second=rate,
            )
        recent = slice(max(0, end - config.log_every_steps), end)
        num_images = (end - recent.start) * config.batch_size
        self.progress.update(
            step,
            loss=losses[recent].sum() / num_images,
            accuracy=correct[recent].sum() / num_images,
            images_per_second=rate,
        )

    def evaluated(self, result: EvaluationResult, step: int, split: str, seconds: float) -> None:
        """Writes the line of an evaluation that took ``seconds``."""
        self.writer.write(
            step=step,
            epoch=step // self.experiment.steps_per_epoch,
            split=split,
            loss=result.loss,
            accuracy=result.accuracy,
            errors=result.errors,
            num_examples=result.num_examples,
            eval_seconds=seconds,
        )

    def epoch_done(self, log: EpochLog, step: int, result: EvaluationResult, eval_seconds: float) -> None:
        """Prints the row of the epoch that ends with ``step``."""
        num_images = self.experiment.steps_per_epoch * self.experiment.config.batch_size
        self.progress.epoch_done(
            step // self.experiment.steps_per_epoch,
            train_loss=float(np.asarray(log.loss_sum, np.float64).sum()) / num_images,
            train_accuracy=int(np.asarray(log.num_correct).sum()) / num_images,
            eval_split=self.eval_split,
            eval_loss=result.loss,
            eval_accuracy=result.accuracy,
            seconds=self.totals.epoch_seconds,
            images_per_second=num_images / self.totals.epoch_seconds,
            eval_seconds=eval_seconds,
        )

    def closing(self, summary: dict[str, Any]) -> None:
        """Prints what the run reached, from its summary."""
        best = summary["best"]
        self.console.closing(
            test_accuracy=summary["test_accuracy"],
            test_errors=summary["test_errors"],
            num_test=self.splits.test.num_examples,
            test_loss=summary["test_loss"],
            train_seconds=summary["train_seconds"],
            compile_seconds=summary["compile_seconds"],
            eval_seconds=summary["eval_seconds"],
            images_per_second=summary["images_per_second"],
            workdir=str(self.folder),
            files=[path.name for path in sorted(self.folder.iterdir()) if not path.name.startswith(".")],
            best=f"epoch {best['epoch']}, {best['split']} accuracy {format_percent(best['accuracy'])}"
            if self.validation
            else "",
            notice=f"{self.splits.train.source}: not the data set asked for"
            if self.splits.is_fallback
            else "",
        )

    def _check_losses(self, losses: np.ndarray, step: int, end: int, length: int) -> None:
        wrong = [step - end + i + 1 for i in range(end - length, end) if not np.isfinite(losses[i])]
        if wrong:
            named = ", ".join(map(str, wrong[:5])) + (f", ... ({len(wrong)} steps)" if len(wrong) > 5 else "")
            raise RunError(
                f"the loss is not finite in step {named}; expected a finite one: try a lower "
                f"optim.learning_rate (it is {self.experiment.config.optim.learning_rate}). "
                "The checkpoints before it are untouched"
            )
