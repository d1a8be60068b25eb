"""The training loop: data, state, calls to the device, evaluation, checkpoints, files."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mnist_jax.checkpoints.manager import Checkpoints
from mnist_jax.config.check import as_dict, check
from mnist_jax.data import Dataset, Splits
from mnist_jax.errors import RunError
from mnist_jax.run import resume
from mnist_jax.run.datasets import RunData, load_run_data
from mnist_jax.run.experiment import Experiment, build_experiment
from mnist_jax.run.log import RunLog
from mnist_jax.run.summary import RunTotals, make_summary
from mnist_jax.runtime.collectives import check_equal, gather, on_primary
from mnist_jax.runtime.compilation import CompiledFunction
from mnist_jax.runtime.devices import device_faults, make_layout
from mnist_jax.runtime.distributed import is_multiprocess, is_primary
from mnist_jax.runtime.signals import StopRequest
from mnist_jax.storage.json_files import SUMMARY_FILE, write_config, write_json_atomic
from mnist_jax.storage.metrics_log import MetricsWriter
from mnist_jax.storage.workdir import CHECKPOINTS_DIR, open_workdir
from mnist_jax.terminal.console import RunConsole
from mnist_jax.training.epoch import EpochLog
from mnist_jax.training.evaluation import EvaluationResult, Evaluator
from mnist_jax.training.plan import CallPlan
from mnist_jax.training.state import TrainState, all_finite


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
    stopped. Where there are several processes (`distributed.join`), all of them call this, and the first one
    writes.

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
    with device_faults("a smaller batch_size or eval_batch_size"):
        return _prepare_and_run(config, workdir, console)


def _prepare_and_run(config: ConfigDict, workdir: str, console: RunConsole) -> RunResult:
    layout = make_layout()
    data = load_run_data(config)
    splits, train, validation = data.splits, data.train, data.validation
    check_equal(splits.train.sha256 + splits.test.sha256, "the images")
    experiment = build_experiment(
        config,
        layout,
        image_shape=train.image_shape,
        class_names=train.class_names,
        num_train=train.num_examples,
    )
    with _open_together(workdir) as folder, StopRequest(work_begun=False) as stop:
        return _Run(experiment, splits, train, validation, folder, console, stop).execute()


@contextlib.contextmanager
def _open_together(workdir: str) -> Iterator[Path]:
    """Opens the folder, which process 0 holds for all."""
    with contextlib.ExitStack() as held:
        yield Path(on_primary(lambda: str(held.enter_context(open_workdir(workdir)))))


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
    totals: RunTotals = field(default_factory=RunTotals)
    test_result: EvaluationResult | None = None

    def execute(self) -> RunResult:
        """Does the whole run, or what is left of it."""
        config = self.experiment.config
        run_facts = RunData(self.splits, self.train, self.validation).facts()
        self.settings = resume.Settings(as_dict(config), run_facts)
        finished = on_primary(
            lambda: resume.check_folder(self.folder, self.settings, self.experiment.total_steps)
        )
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
            state, log, step = self._start()
            on_primary(lambda: write_config(self.folder, as_dict(config), run_facts))
            with MetricsWriter(self.folder, resume_step=step, enabled=is_primary()) as writer:
                self.log = RunLog(
                    self.experiment,
                    self.splits,
                    self.train,
                    self.validation,
                    self.folder,
                    self.console,
                    writer,
                    self.totals,
                )
                self.log.opening(state, step)
                return self._train(state, log, step)

    def _start(self) -> tuple[TrainState, EpochLog, int]:
        """The state to go on from: the newest whole checkpoint's, or a new one."""
        latest = self.checkpoints.latest_step()
        if latest is None:
            return self.experiment.create_state(), self.experiment.create_log(), 0
        # config.json may have been lost or changed by hand; what a checkpoint was made with is in itself.
        resume.check_checkpoint(self.checkpoints.read_meta(latest), self.settings)
        restored, meta = self.checkpoints.restore(latest, self.experiment.abstract_checkpoint())
        self.totals = RunTotals(**meta["totals"])
        return restored["state"], restored["log"], int(meta["step"])

    def _train(self, state: TrainState, log: EpochLog, step: int) -> RunResult:
        experiment, config = self.experiment, self.experiment.config
        layout = experiment.layout
        self._place_data()
        train_steps = CompiledFunction(experiment.make_train_steps())
        static = layout.platform != "cpu"
        plan = CallPlan(
            steps_per_epoch=experiment.steps_per_epoch,
            checkpoint_every_steps=config.checkpoint.every_steps if config.checkpoint.enabled else 0,
            steps_per_call=config.steps_per_call,
            batch_size=config.batch_size,
            adaptive=not static,
        )
        last_save = time.monotonic()
        with self.log.open_progress(step):
            train_steps.on_compile = lambda: self.log.progress.phase("compiling")
            # All is compiled before the first step: a signal is not kept waiting once there is work to save.
            self._compile_evaluation(state)
            stopping = False
            while step < experiment.total_steps and not stopping:
                length = plan.next_length(step)
                lengths: dict[str, Any] = {"num_steps": length} if static else {}
                arguments = (state, log, *self.train_data, self.keys)
                arguments += () if static else (np.int32(length),)
                compiled_before = train_steps.compile_seconds
                program = train_steps.compiled(*arguments, **lengths)
                self.totals.compile_seconds += train_steps.compile_seconds - compiled_before
                self._begin_work()
                started = time.perf_counter()
                state, log = jax.block_until_ready(program(*arguments))
                seconds = time.perf_counter() - started
                step += length
                self.totals.train_seconds += seconds
                self.totals.epoch_seconds += seconds
                self.log.after_call(log, step, length, seconds)
                at_epoch_end = step % experiment.steps_per_epoch == 0
                evaluation = self._end_epoch(state, log, step) if at_epoch_end else None
                # Read once: a signal between two looks would end the run without the checkpoint.
                seconds, since_save, stopping = self._agree(seconds, time.monotonic() - last_save)
                plan.measured(length, seconds)
                if self._is_due(step, since_save, stopping):
                    self._save(state, log, step, evaluation)
                    last_save = time.monotonic()
        if step < experiment.total_steps:
            return self._stopped(state, step)
        return self._finish(state)

    def _place_data(self) -> None:
        """Puts all images, whole, on every device, once."""
        layout = self.experiment.layout
        self.train_data = layout.replicate((self.train.images, self.train.labels))
        self.keys = layout.replicate(self.experiment.keys)
        self.eval_data = {
            split: layout.replicate((dataset.images, dataset.labels))
            for split, dataset in (("validation", self.validation), ("test", self.splits.test))
            if dataset is not None
        }
        self.evaluator = Evaluator(
            self.experiment.model.apply,
            batch_size=self.experiment.config.eval_batch_size,
            num_classes=self.experiment.num_classes,
            batch_sharding=layout.batch,
        )

    def _agree(self, seconds: float, since_save: float) -> tuple[float, float, bool]:
        """What all processes take for true after a call: the first one's clock, and anyone's signal."""
        if not is_multiprocess():
            return seconds, since_save, self.stop.requested
        everyone = gather(seconds, since_save, self.stop.signal or 0)
        number = int(everyone[:, 2].max())
        self.stop.request(number)
        # Not `requested`: a signal that came since is one that the others do not know of yet.
        return float(everyone[0, 0]), float(everyone[0, 1]), number > 0

    def _begin_work(self) -> None:
        """From the first call on a signal is answered with a checkpoint, in all processes alike."""
        if not self.stop.work_begun:
            gather()
            self.stop.work_begins()

    def _compile_evaluation(self, state: TrainState) -> None:
        """Compiles the evaluation of each split that this run evaluates."""
        self.log.progress.phase("compiling")
        function = self.evaluator.function
        compiled_before = function.compile_seconds
        for data in self.eval_data.values():
            function.compiled(state.eval_variables(), *data)
        self.totals.compile_seconds += function.compile_seconds - compiled_before

    def _end_epoch(self, state: TrainState, log: EpochLog, step: int) -> EvaluationResult:
        """Evaluates, writes the epoch's lines, and returns the evaluation."""
        experiment, split = self.experiment, self.log.eval_split
        result, eval_seconds = self._evaluate(state, split)
        self.log.evaluated(result, step, split, eval_seconds)
        if step == experiment.total_steps:
            self.test_result = result
            if split != "test":
                self.test_result, test_seconds = self._evaluate(state, "test")
                self.log.evaluated(self.test_result, step, "test", test_seconds)
        self.log.epoch_done(log, step, result, eval_seconds)
        self.totals.epoch_seconds = 0.0
        best, epoch = self.totals.best, step // experiment.steps_per_epoch
        if best is None or self.validation is None or result.accuracy > best["accuracy"]:
            self.totals.best = {"step": step, "epoch": epoch, "split": split, "accuracy": result.accuracy}
        return result

    def _evaluate(self, state: TrainState, split: str) -> tuple[EvaluationResult, float]:
        """One pass over a split, compiled before, and the seconds it took."""
        self.log.progress.phase("evaluating")
        started = time.perf_counter()
        result = self.evaluator(state.eval_variables(), *self.eval_data[split])
        seconds = time.perf_counter() - started
        self.totals.eval_seconds += seconds
        if not np.isfinite(result.loss):
            raise RunError(
                f"the loss of the evaluation after step {int(state.step)} is not finite; expected a "
                "finite one: "
                "try a lower optim.learning_rate. The checkpoints before it are untouched"
            )
        return result, seconds

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
        self.log.writer.sync()
        metrics = None
        if evaluation is not None and self.validation is not None:
            metrics = {"accuracy": evaluation.accuracy, "loss": evaluation.loss}
        meta = {
            "epoch": step // self.experiment.steps_per_epoch,
            "totals": asdict(self.totals),
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
            self.test_result, _ = self._evaluate(state, "test")
        self.checkpoints.wait()
        summary = make_summary(
            self.experiment,
            self.settings.run["dataset"],
            state,
            self.test_result,
            self.totals,
        )
        on_primary(lambda: write_json_atomic(self.folder / SUMMARY_FILE, summary))
        self.log.closing(summary)
        return RunResult(summary, state)
