"""What a run tells as it goes: lines of ``metrics.jsonl``, the opening, the progress, the end."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mnist_jax.config.optimizers import OPTIMIZERS
from mnist_jax.errors import RunError
from mnist_jax.models.registry import count_parameters, summarize_layers
from mnist_jax.run.certificate import RunCertificate
from mnist_jax.run.datasets import RunData
from mnist_jax.run.epochs import EpochWriter
from mnist_jax.run.experiment import Experiment
from mnist_jax.run.summary import RunTotals
from mnist_jax.run.tracking import Tracking
from mnist_jax.runtime.distributed import is_primary
from mnist_jax.runtime.environment import describe_device, package_version
from mnist_jax.storage.metrics_log import MetricsWriter
from mnist_jax.terminal.console import RunConsole, RunDescription
from mnist_jax.terminal.format import format_percent
from mnist_jax.terminal.progress import Progress
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.evaluation import EvaluationResult
from mnist_jax.training.state import TrainState


class RunLog:
    """Tells the terminal and the files what a run does; of several processes only process 0 says anything.

    A context manager around the loop: the opening is printed as it starts, and the bar ends with it.

    Attributes:
        writer: ``metrics.jsonl`` and TensorBoard.
        progress: the live bar, or a line now and then.
        tracking: the trackers that the configuration names.
    """

    def __init__(
        self,
        experiment: Experiment,
        data: RunData,
        folder: Path,
        console: RunConsole,
        totals: RunTotals,
        state: TrainState,
        step: int,
    ):
        """Opens the files of a run that goes on from ``state``, after ``step`` steps."""
        self._experiment, self._data, self._folder = experiment, data, folder
        self._console, self._totals = console, totals
        self._eval_seconds, self._step = 0.0, step
        self._description = describe_run(experiment, data, folder, state)
        optim = experiment.config.optim
        # As one program: taken apart, a schedule is a dozen of them, each compiled when a run starts.
        self._schedule = jax.jit(experiment.learning_rate_fn)
        # An optimizer that was given has no known rate, and fields of its own.
        is_named = np.isfinite(self._learning_rate(0))
        b2 = optim.b2 if is_named and "b2" in OPTIMIZERS[optim.name].fields else None
        self._epochs = EpochWriter(folder, resume_step=step, adam_b2=b2, enabled=is_primary())
        if step == 0:
            self._epochs.write(state, 0, 0)
        self._certificate = RunCertificate(
            folder,
            state,
            step,
            steps_per_epoch=experiment.steps_per_epoch,
            keep_latest=experiment.config.checkpoint.keep_latest,
            enabled=is_primary(),
        )
        self.writer = MetricsWriter(folder, resume_step=step, enabled=is_primary())
        self.tracking = Tracking(experiment, data, folder, console, self.writer)
        if step == 0:
            self.tracking.show_training_pictures(step)
        self._print_opening(state, step)
        self.progress = Progress(
            console,
            num_epochs=experiment.config.num_epochs,
            steps_per_epoch=experiment.steps_per_epoch,
            batch_size=experiment.config.batch_size,
            first_step=step,
        )

    def __enter__(self) -> "RunLog":
        self._held = contextlib.ExitStack()
        self._held.enter_context(self.writer)
        self._held.enter_context(self.progress)
        return self

    def __exit__(self, *exception: Any) -> None:
        self._held.__exit__(*exception)
        if exception[0] is not None:
            self.tracking.stop(self._step, failed=True)

    def _print_opening(self, state: TrainState, step: int) -> None:
        console, experiment = self._console, self._experiment
        console.opening(self._description, step)
        if step == 0:
            console.model_summary(
                summarize_layers(experiment.model, experiment.image_shape),
                num_trainable=count_parameters(state.params),
                num_non_trainable=count_parameters(state.batch_stats),
            )
        for remark in self._data.remarks:
            console.note(remark)
        if self.writer.notice:
            console.note(self.writer.notice)
        if self._data.validation is None:
            console.note(
                "no validation split is held out: each epoch is evaluated on test, and nothing is chosen "
                "by it"
            )

    def after_call(self, log: EpochLog, step: int, length: int, seconds: float) -> None:
        """Moves the progress and writes the lines that became due in a call of ``length`` steps.

        Raises:
            RunError: a loss of the call is not finite, or the disk refuses a line.
        """
        experiment, config = self._experiment, self._experiment.config
        self._step = step
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
                learning_rate=self._learning_rate(line_step - 1),
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

    def evaluated(
        self, result: EvaluationResult, step: int, split: str, seconds: float, state_step: int
    ) -> None:
        """Writes the line of an evaluation, after ``step`` steps, of the state of ``state_step``."""
        if split == self._data.eval_split:
            self._eval_seconds = seconds
        self.writer.write(
            step=step,
            epoch=step // self._experiment.steps_per_epoch,
            split=split,
            loss=result.loss,
            accuracy=result.accuracy,
            errors=result.errors,
            num_examples=result.num_examples,
            eval_seconds=seconds,
            **({} if state_step == step else {"kept_step": state_step}),
        )

    def epoch_done(self, state: TrainState, log: EpochLog, step: int, result: EvaluationResult) -> None:
        """Keeps what the network looks like after an epoch that was evaluated, and prints its row."""
        self._epochs.write(state, step, step // self._experiment.steps_per_epoch)
        self._certificate.add(state)
        num_images = self._experiment.steps_per_epoch * self._experiment.config.batch_size
        self.progress.epoch_done(
            step // self._experiment.steps_per_epoch,
            train_loss=float(np.asarray(log.loss_sum, np.float64).sum()) / num_images,
            train_accuracy=int(np.asarray(log.num_correct).sum()) / num_images,
            eval_split=self._data.eval_split,
            eval_loss=result.loss,
            eval_accuracy=result.accuracy,
            seconds=self._totals.epoch_seconds,
            images_per_second=num_images / self._totals.epoch_seconds,
            eval_seconds=self._eval_seconds,
        )

    def before_checkpoint(self, state: TrainState) -> None:
        """Brings what is written so far to the disk, and the state about to be saved into the certificate."""
        self.writer.sync()
        self._certificate.add(state)
        self._certificate.save()

    def closing(self, summary: dict[str, Any], state: TrainState) -> None:
        """Prints what the run reached, from its summary, and shows ``state`` to the trackers.

        The certificate is the last file of a run.
        """
        self.tracking.finish(summary, state)
        self._certificate.finish(state)
        best = summary["best"]
        self._console.closing(
            self._description,
            summary,
            files=[path.name for path in sorted(self._folder.iterdir()) if not path.name.startswith(".")],
            best=f"epoch {best['epoch']}, {best['split']} accuracy {format_percent(best['accuracy'])}"
            if self._data.validation
            else "",
        )

    def _learning_rate(self, step: int) -> float:
        # The shortest number that means this float32: 0.001, not 0.0010000000474974513.
        return float(str(np.float32(self._schedule(step))))

    def _check_losses(self, losses: np.ndarray, step: int, end: int, length: int) -> None:
        wrong = [step - end + i + 1 for i in range(end - length, end) if not np.isfinite(losses[i])]
        if wrong:
            named = ", ".join(map(str, wrong[:5])) + (f", ... ({len(wrong)} steps)" if len(wrong) > 5 else "")
            raise RunError(
                f"the loss is not finite in step {named}; expected a finite one: try a lower "
                f"optim.learning_rate (it is {self._experiment.config.optim.learning_rate}). "
                "The checkpoints before it are untouched"
            )


def describe_run(experiment: Experiment, data: RunData, folder: Path, state: TrainState) -> RunDescription:
    """Returns a run in plain values, for the terminal."""
    config, train = experiment.config, data.splits.train
    counts = {"train": data.train.num_examples}
    if data.validation is not None:
        counts["validation"] = data.validation.num_examples
    return RunDescription(
        **describe_device(),  # type: ignore[arg-type]
        version=package_version(),
        data_name=data.train.name,
        data_source=train.source,
        data_sha256=train.sha256,
        num_examples={**counts, "test": data.test.num_examples},
        image_shape=experiment.image_shape,
        num_classes=experiment.num_classes,
        model_name=config.model.name,
        num_params=count_parameters(state.params),
        dtype=config.model.dtype,
        num_epochs=config.num_epochs,
        steps_per_epoch=experiment.steps_per_epoch,
        batch_size=config.batch_size,
        workdir=str(folder),
        fallback=f"{train.source}: not the data set asked for" if data.splits.is_fallback else "",
    )
