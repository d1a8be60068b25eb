"""The training loop: data, state, calls to the device, evaluation, checkpoints, files (floor 5)."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mnist_jax import resume
from mnist_jax.checkpoints import Checkpoints
from mnist_jax.compilation import CompiledFunction
from mnist_jax.config import as_dict, check, check_against_data
from mnist_jax.console import RunConsole
from mnist_jax.data import Dataset, Splits, load_splits
from mnist_jax.devices import device_faults, make_layout
from mnist_jax.environment import describe_device
from mnist_jax.epoch import EpochLog
from mnist_jax.errors import RunError
from mnist_jax.evaluation import EvaluationResult, Evaluator
from mnist_jax.experiment import Experiment, build_experiment
from mnist_jax.models import count_parameters, summarize_layers
from mnist_jax.plan import CallPlan
from mnist_jax.progress import Progress
from mnist_jax.run_files import SUMMARY_FILE, write_config, write_json_atomic
from mnist_jax.signals import StopRequest
from mnist_jax.state import TrainState, all_finite
from mnist_jax.summary import Tally, describe_dataset, make_summary
from mnist_jax.workdir import CHECKPOINTS_DIR, open_workdir
from mnist_jax.writers import MetricsWriter


@dataclass(frozen=True)
class RunResult:
    """What a run ended with.

    Attributes:
        summary: as in ``summary.json``; empty where the run was stopped before its end.
        state: the last training state; None where the run had been finished before.
        exit_code: 0, or 143 / 130 after a SIGTERM / Ctrl-C that was answered with a checkpoint.
    """

    summary: dict[str, Any]
    state: TrainState | None
    exit_code: int = 0


def train_and_evaluate(config: ConfigDict, workdir: str, console: RunConsole | None = None) -> RunResult:
    """Trains a network as configured, evaluates it, and leaves the files of the run in ``workdir``.

    A run that was stopped or killed goes on from its newest whole checkpoint, and ends as if it had never
    stopped.

    Args:
        config: any configuration, see ``config.check``.
        workdir: the folder of the run; made where it is missing.
        console: what a person sees; silent by default.

    Raises:
        ConfigError: the configuration is wrong, by itself or for this data.
        DataError: the data is missing or damaged.
        RunError: the folder, the device or the numbers are at fault.
        CheckpointError: a checkpoint cannot be written, or does not fit.
    """
    config = check(config)
    console = console or RunConsole(enabled=False)
    splits = load_splits(config.data.name, data_dir=config.data.dir, fallback=config.data.fallback)
    check_against_data(config, splits.train.num_examples)
    layout = make_layout()
    train, validation = split_train(splits.train, config.data.train_examples, config.data.validation_examples)
    experiment = build_experiment(
        config,
        layout,
        image_shape=train.image_shape,
        class_names=train.class_names,
        num_train=train.num_examples,
    )
    with open_workdir(workdir) as folder, StopRequest(work_begun=False) as stop:
        run = _Run(experiment, splits, train, validation, folder, console, stop)
        with device_faults("a smaller batch_size or eval_batch_size"):
            return run.execute()


def split_train(train: Dataset, num_examples: int, num_validation: int) -> tuple[Dataset, Dataset | None]:
    """Takes the first ``num_examples`` (0 = all) and holds out the last ``num_validation`` of them."""
    used = train.take(num_examples) if num_examples else train
    return used.hold_out(num_validation) if num_validation else (used, None)


@dataclass
class _Run:
    """One run in its folder: the pieces, and what changes from call to call."""

    experiment: Experiment
    splits: Splits
    train: Dataset
    validation: Dataset | None
    folder: Path
    console: RunConsole
    stop: StopRequest
    tally: Tally = field(default_factory=Tally)
    test_result: EvaluationResult | None = None

    def execute(self) -> RunResult:
        """Does the whole run, or what is left of it."""
        config = self.experiment.config
        run_facts = {
            "dataset": describe_dataset(self.splits, self.train, self.validation),
            "image_shape": list(self.experiment.image_shape),
            "class_names": list(self.experiment.class_names),
        }
        recorded_now = resume.Settings(as_dict(config), run_facts)
        finished = resume.check_folder(self.folder, recorded_now, self.experiment.total_steps)
        if self.splits.notice:
            self.console.notice(self.splits.notice)
        if finished is not None:
            self.console.note(f"this run is finished, nothing to do: see {self.folder / SUMMARY_FILE}")
            return RunResult(finished, None)
        with Checkpoints(
            self.folder / CHECKPOINTS_DIR,
            keep_latest=config.checkpoint.keep_latest,
            keep_best=config.checkpoint.keep_best,
            on_warning=self.console.note,
        ) as self.checkpoints:
            state, log, step = self._start(recorded_now)
            write_config(self.folder, as_dict(config), run_facts)
            with MetricsWriter(
                self.folder, resume_step=step, enabled=jax.process_index() == 0
            ) as self.writer:
                self._open_console(state, step)
                return self._train(state, log, step)

    def _start(self, settings: resume.Settings) -> tuple[TrainState, EpochLog, int]:
        """The state to go on from: the newest whole checkpoint's, or a new one."""
        self.settings = settings
        latest = self.checkpoints.latest_step()
        if latest is None:
            return self.experiment.create_state(), self.experiment.create_log(), 0
        # config.json may have been lost or changed by hand; what a checkpoint was made with is in itself.
        resume.check_checkpoint(self.checkpoints.read_meta(latest), settings)
        restored, meta = self.checkpoints.restore(latest, self.experiment.abstract_checkpoint())
        self.tally = Tally(**meta["tally"])
        return restored["state"], restored["log"], int(meta["step"])

    def _open_console(self, state: TrainState, step: int) -> None:
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

    def _train(self, state: TrainState, log: EpochLog, step: int) -> RunResult:
        experiment, config = self.experiment, self.experiment.config
        layout = experiment.layout
        images, labels, keys = jax.device_put(
            (self.train.images, self.train.labels, experiment.keys), layout.replicated
        )
        self.evaluator = Evaluator(
            experiment.model.apply,
            batch_size=config.eval_batch_size,
            num_classes=experiment.num_classes,
            batch_sharding=layout.batch,
        )
        train_steps = CompiledFunction(experiment.make_train_steps())
        plan = CallPlan(
            steps_per_epoch=experiment.steps_per_epoch,
            checkpoint_every_steps=config.checkpoint.every_steps if config.checkpoint.enabled else 0,
            steps_per_call=config.steps_per_call,
            batch_size=config.batch_size,
            adaptive=layout.platform == "cpu",
        )
        static = layout.platform != "cpu"
        last_save = time.monotonic()
        evaluation: EvaluationResult | None = None
        with Progress(
            self.console,
            num_epochs=config.num_epochs,
            steps_per_epoch=experiment.steps_per_epoch,
            batch_size=config.batch_size,
            first_step=step,
        ) as self.progress:
            train_steps.on_compile = lambda: self.progress.phase("compiling")
            # All is compiled before the first step: a signal is not kept waiting once there is work to save.
            self._compile_evaluation(state)
            stopping = False
            while step < experiment.total_steps and not stopping:
                length = plan.next_length(step)
                lengths: dict[str, Any] = {"num_steps": length} if static else {}
                arguments = (state, log, images, labels, keys) + (() if static else (np.int32(length),))
                compiled_before = train_steps.compile_seconds
                program = train_steps.compiled(*arguments, **lengths)
                self.tally.compile_seconds += train_steps.compile_seconds - compiled_before
                self.stop.work_begins()
                started = time.perf_counter()
                state, log = jax.block_until_ready(program(*arguments))
                seconds = time.perf_counter() - started
                plan.measured(length, seconds)
                step += length
                self._log_call(log, step, length, seconds)
                at_epoch_end = step % experiment.steps_per_epoch == 0
                if at_epoch_end:
                    evaluation = self._end_epoch(state, log, step)
                # Read once: a signal between two looks would end the run without the checkpoint.
                stopping = self.stop.requested
                if self._is_due(step, time.monotonic() - last_save, stopping):
                    self._save(state, log, step, evaluation if at_epoch_end else None)
                    last_save = time.monotonic()
        if step < experiment.total_steps:
            return self._stopped(state, step)
        return self._finish(state)

    def _compile_evaluation(self, state: TrainState) -> None:
        """Compiles the evaluation of each split that this run evaluates."""
        self.progress.phase("compiling")
        function = self.evaluator.function
        compiled_before = function.compile_seconds
        for dataset in (self.validation, self.splits.test):
            if dataset is not None:
                function.compiled(state.eval_variables(), dataset.images, dataset.labels)
        self.tally.compile_seconds += function.compile_seconds - compiled_before

    def _log_call(self, log: EpochLog, step: int, length: int, seconds: float) -> None:
        """Checks the losses of a call, moves the progress bar, and writes the lines that became due."""
        experiment, config = self.experiment, self.experiment.config
        epoch, end = divmod(step - 1, experiment.steps_per_epoch)
        end += 1
        losses, correct = np.asarray(log.loss_sum, np.float64), np.asarray(log.num_correct)
        wrong = [step - end + i + 1 for i in range(end - length, end) if not np.isfinite(losses[i])]
        if wrong:
            named = ", ".join(map(str, wrong[:5])) + (f", ... ({len(wrong)} steps)" if len(wrong) > 5 else "")
            raise RunError(
                f"the loss is not finite in step {named}; expected a finite one: try a lower "
                "optim.learning_rate "
                f"(it is {config.optim.learning_rate}). The checkpoints before it are untouched"
            )
        self.tally.train_seconds += seconds
        self.tally.epoch_seconds += seconds
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

    def _end_epoch(self, state: TrainState, log: EpochLog, step: int) -> EvaluationResult:
        """Evaluates, writes the epoch's lines, and returns the evaluation."""
        experiment = self.experiment
        split = "test" if self.validation is None else "validation"
        epoch = step // experiment.steps_per_epoch
        result, eval_seconds = self._evaluate(state, self.validation or self.splits.test)
        self._write_evaluation(result, step, split, eval_seconds)
        if step == experiment.total_steps:
            self.test_result = result
            if self.validation is not None:
                self.test_result, test_seconds = self._evaluate(state, self.splits.test)
                self._write_evaluation(self.test_result, step, "test", test_seconds)
        num_images = experiment.steps_per_epoch * experiment.config.batch_size
        self.progress.epoch_done(
            epoch,
            train_loss=float(np.asarray(log.loss_sum, np.float64).sum()) / num_images,
            train_accuracy=int(np.asarray(log.num_correct).sum()) / num_images,
            eval_split=split,
            eval_loss=result.loss,
            eval_accuracy=result.accuracy,
            seconds=self.tally.epoch_seconds,
            images_per_second=num_images / self.tally.epoch_seconds,
            eval_seconds=eval_seconds,
        )
        self.tally.epoch_seconds = 0.0
        best = self.tally.best
        if best is None or self.validation is None or result.accuracy > best["accuracy"]:
            self.tally.best = {"step": step, "epoch": epoch, "split": split, "accuracy": result.accuracy}
        return result

    def _evaluate(self, state: TrainState, dataset: Dataset) -> tuple[EvaluationResult, float]:
        """One pass over a data set, compiled before, and the seconds it took."""
        self.progress.phase("evaluating")
        started = time.perf_counter()
        result = self.evaluator(state.eval_variables(), dataset.images, dataset.labels)
        seconds = time.perf_counter() - started
        self.tally.eval_seconds += seconds
        if not np.isfinite(result.loss):
            raise RunError(
                f"the loss of the evaluation after step {int(state.step)} is not finite; expected a "
                "finite one: "
                "try a lower optim.learning_rate. The checkpoints before it are untouched"
            )
        return result, seconds

    def _write_evaluation(self, result: EvaluationResult, step: int, split: str, seconds: float) -> None:
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

    def _is_due(self, step: int, seconds_since_save: float, stopping: bool) -> bool:
        """Whether to save after this step."""
        checkpoint = self.experiment.config.checkpoint
        if not checkpoint.enabled:
            return False
        epoch, within = divmod(step, self.experiment.steps_per_epoch)
        return bool(
            step == self.experiment.total_steps
            or stopping
            or (checkpoint.every_steps and step % checkpoint.every_steps == 0)
            or (checkpoint.every_epochs and within == 0 and epoch % checkpoint.every_epochs == 0)
            or (checkpoint.every_seconds and seconds_since_save >= checkpoint.every_seconds)
        )

    def _save(self, state: TrainState, log: EpochLog, step: int, evaluation: EvaluationResult | None) -> None:
        """Saves in the background; only validation decides what is best, so only it is handed on."""
        if not all_finite(state.params):
            raise RunError(
                f"the parameters after step {step} are not finite, so they are not saved; the "
                "checkpoints before are "
                "untouched: try a lower optim.learning_rate"
            )
        self.writer.sync()
        metrics = None
        if evaluation is not None and self.validation is not None:
            metrics = {"accuracy": evaluation.accuracy, "loss": evaluation.loss}
        meta = {
            "epoch": step // self.experiment.steps_per_epoch,
            "tally": asdict(self.tally),
            "config": self.settings.config,
            "run": self.settings.run,
        }
        self.checkpoints.save(step, {"state": state, "log": log}, meta, metrics)

    def _stopped(self, state: TrainState, step: int) -> RunResult:
        self.checkpoints.wait()
        name = self.stop.signal.name if self.stop.signal else "a signal"
        saved = f"saved step {step}; the same command goes on from there"
        self.console.note(
            f"stopped by {name}: {saved if self.experiment.config.checkpoint.enabled else 'nothing saved'}"
        )
        return RunResult({}, state, self.stop.exit_code)

    def _finish(self, state: TrainState) -> RunResult:
        """Writes the summary; a run killed after its last checkpoint reads the test set once more."""
        if self.test_result is None:
            self.test_result, _ = self._evaluate(state, self.splits.test)
        self.checkpoints.wait()
        summary = make_summary(
            self.experiment,
            describe_dataset(self.splits, self.train, self.validation),
            state,
            self.test_result,
            self.tally,
        )
        write_json_atomic(self.folder / SUMMARY_FILE, summary)
        self._close_console(summary)
        return RunResult(summary, state)

    def _close_console(self, summary: dict[str, Any]) -> None:
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
            best=f"epoch {best['epoch']}, {best['split']} accuracy {best['accuracy']:.2%}"
            if self.validation
            else "",
            notice=f"{self.splits.train.source}: not the data set asked for"
            if self.splits.is_fallback
            else "",
        )
