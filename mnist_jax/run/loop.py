"""One training in its folder: `train_and_evaluate` prepares it, `_train` is the loop."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optax
from ml_collections import ConfigDict

from mnist_jax.checkpoints.manager import Checkpoints
from mnist_jax.config.check import as_dict, check
from mnist_jax.data import Splits
from mnist_jax.errors import RunError
from mnist_jax.ops.native.library import begin as begin_to_compile
from mnist_jax.run import resume
from mnist_jax.run.datasets import RunData, load_run_data, write_test_items
from mnist_jax.run.evaluations import Evaluations
from mnist_jax.run.experiment import Experiment, experiment_for
from mnist_jax.run.extension import describe_extensions, describe_last, find_extensions, first_step
from mnist_jax.run.log import RunLog
from mnist_jax.run.start import Start, find_start
from mnist_jax.run.summary import RunTotals, find_warnings, make_summary
from mnist_jax.runtime.collectives import check_equal, gather, on_primary
from mnist_jax.runtime.devices import device_faults, make_layout
from mnist_jax.runtime.distributed import is_multiprocess
from mnist_jax.runtime.signals import StopRequest
from mnist_jax.storage.json_files import SUMMARY_FILE, write_config, write_json_atomic
from mnist_jax.storage.trackers import read_names
from mnist_jax.storage.workdir import CHECKPOINTS_DIR, open_workdir
from mnist_jax.terminal.console import RunConsole
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.evaluation import EvaluationResult
from mnist_jax.training.state import TrainState, all_finite


@dataclass(frozen=True)
class RunResult:
    """What a run ended with.

    Attributes:
        summary: as in ``summary.json``; empty where the run was stopped before its end.
        state: the last training state; None where the run had been finished before.
        exit_code: 0, or 143 / 130 after a SIGTERM / Ctrl-C that was answered with a checkpoint.
        data: of the run, where it came to its end.
    """

    summary: dict[str, Any]
    state: TrainState | None
    exit_code: int = 0
    data: RunData | None = None


@dataclass(frozen=True)
class Run:
    """All that one training needs, settled before its first step.

    Attributes:
        experiment: the network, the optimizer and the rest that the configuration decides.
        data: what it trains on, chooses by and is measured on.
        settings: what the folder and each checkpoint keep of both.
        start: the trained variables of another run, if any.
        folder: of the run, locked.
        console: the terminal output.
        stop: the signals received.
    """

    experiment: Experiment
    data: RunData
    settings: resume.Settings
    start: Start
    folder: Path
    console: RunConsole
    stop: StopRequest


def train_and_evaluate(
    config: ConfigDict,
    workdir: str,
    console: RunConsole | None = None,
    *,
    extend: bool = False,
    model: Any = None,
    optimizer: optax.GradientTransformation | None = None,
    stop: StopRequest | None = None,
    loading: Callable[[], Splits] | None = None,
) -> RunResult:
    """Trains a network as configured, evaluates it, and leaves the files of the run in ``workdir``.

    A run that was stopped or killed goes on from its newest intact checkpoint, and ends as if it had never
    stopped. Where there are several processes (`distributed.join`), all of them call this, and process 0
    writes.

    Args:
        config: any configuration, see ``config.check``.
        workdir: the folder of the run; made where it is missing.
        console: the terminal output; silent by default.
        extend: whether a finished run goes on to ``num_epochs`` under a new schedule.
        model: see `experiment.build_experiment`; ``model.name`` is then what is written down of it.
        optimizer: see `experiment.build_experiment`.
        stop: how signals are answered; by default as a command does it.
        loading: waits for the data, where loading it has begun, see `datasets.begin_to_load`.

    Raises:
        ConfigError: the configuration is wrong, by itself or for this data.
        DataError: the data is missing or damaged.
        RunError: the folder, the device or the numbers are at fault.
        CheckpointError: a checkpoint cannot be written, or does not fit.
    """
    config = check(config)
    read_names(config.tracking)
    console = console or RunConsole(enabled=False)
    with device_faults("a smaller batch_size or eval_batch_size"), contextlib.ExitStack() as held:
        layout = make_layout()
        begin_to_compile(layout.platform)
        config, data = load_run_data(config, layout.num_devices, loading)
        check_equal(data.splits.train.sha256 + data.test.sha256, "the images")
        # Process 0 holds the folder for all.
        folder = Path(on_primary(lambda: str(held.enter_context(open_workdir(workdir)))))
        extensions = on_primary(lambda: find_extensions(folder, config, data.train.num_examples, extend))
        first = first_step(extensions)
        experiment = experiment_for(
            config, layout, data.train, first_step=first, model=model, optimizer=optimizer
        )
        settings = resume.Settings(as_dict(config), data.facts() | describe_extensions(extensions))
        stop = held.enter_context(stop or StopRequest(work_begun=False))
        finished = on_primary(lambda: resume.check_folder(folder, settings, experiment.total_steps))
        if data.splits.notice:
            console.notice(data.splits.notice)
        if finished is not None:
            console.note(f"this run is finished, nothing to do: see {folder / SUMMARY_FILE}")
            return RunResult(finished, None)
        if extensions:
            console.note(describe_last(extensions, config))
        start = find_start(experiment, data, folder, console.note)
        settings = replace(settings, run=settings.run | start.facts())
        checkpoints = Checkpoints(
            folder / CHECKPOINTS_DIR,
            keep_latest=config.checkpoint.keep_latest,
            keep_best=config.checkpoint.keep_best,
            best_metric=config.early_stopping.metric,
            on_warning=console.note,
        )
        on_primary(lambda: write_test_items(folder, data.splits))
        with checkpoints:
            return _train(Run(experiment, data, settings, start, folder, console, stop), checkpoints)


def _train(run: Run, checkpoints: Checkpoints) -> RunResult:
    """Restores or creates the state, does the steps that are left, evaluates, saves, and finishes."""
    experiment, config, data = run.experiment, run.experiment.config, run.data
    state, epoch_log, totals, step = _restore_or_create(run, checkpoints)
    on_primary(lambda: write_config(run.folder, run.settings.config, run.settings.run))

    train_steps = experiment.compiled_steps(data.train)
    steps_per_call = experiment.steps_per_call()
    with RunLog(experiment, data, run.folder, run.console, totals, state, step) as log:
        evaluate = Evaluations(experiment, data, log, totals)
        # Compiled before the first step: a signal is not kept waiting once there is work to save.
        evaluate.compile(state)
        if not _is_over(experiment, step, totals):
            train_steps.program(state, epoch_log, steps_per_call.next(step))
        _work_begins(run.stop)

        last_save, stopping = time.monotonic(), False
        results: dict[str, EvaluationResult] = {}
        compiled_before = totals.compile_seconds
        while not (stopping or _is_over(experiment, step, totals)):
            num_steps = steps_per_call.next(step)
            state, epoch_log, seconds = train_steps.run(state, epoch_log, num_steps)
            step += num_steps
            totals.add_training(seconds)
            totals.compile_seconds = compiled_before + train_steps.compile_seconds + evaluate.compile_seconds
            log.after_call(epoch_log, step, num_steps, seconds)

            results = {}
            if step % experiment.steps_per_epoch == 0:
                results[data.eval_split] = result = evaluate(state, step, data.eval_split)
                log.epoch_done(state, epoch_log, step, result)
                early_stopping = experiment.early_stopping
                totals.end_epoch(step, experiment.steps_per_epoch, data.eval_split, result, early_stopping)
                if _is_over(experiment, step, totals) and data.eval_split != "test":
                    results["test"] = evaluate(_kept(run, checkpoints, totals, state), step, "test")

            # Read once: a signal between two looks would end the run without the checkpoint.
            seconds, since_save, stopping = _agree(run.stop, seconds, time.monotonic() - last_save)
            steps_per_call.measured(num_steps, seconds)
            if _checkpoint_is_due(experiment, step, totals, since_save, stopping):
                log.before_checkpoint(state)
                _save(run, checkpoints, state, epoch_log, totals, results.get("validation"))
                last_save = time.monotonic()

    if not _is_over(experiment, step, totals):
        log.tracking.stop(step)
        return _stopped(run, checkpoints, state, step)
    state = _kept(run, checkpoints, totals, state)
    # A run killed after its last checkpoint evaluates the test set once more.
    test = results["test"] if results else evaluate(state, step, "test", write=False)
    checkpoints.wait()
    if int(state.step) < step:
        # The state that is kept is the latest from here on, for whoever reads the run.
        checkpoints.remove_after(int(state.step))
    warnings = find_warnings(data.train, epoch_log, config.batch_size, test)
    summary = make_summary(experiment, run.settings.run["dataset"], state, test, totals, warnings, step)
    on_primary(lambda: write_json_atomic(run.folder / SUMMARY_FILE, summary))
    log.closing(summary, state)
    return RunResult(summary, state, data=data)


def _restore_or_create(run: Run, checkpoints: Checkpoints) -> tuple[TrainState, EpochLog, RunTotals, int]:
    """The state to go on from: the newest intact checkpoint's, or a new one."""
    experiment = run.experiment
    latest = checkpoints.latest_step()
    if latest is None:
        return experiment.create_state(run.start.apply), experiment.create_log(), RunTotals(), 0
    # config.json may have been lost or changed by hand; what a checkpoint was made with is in itself.
    resume.check_checkpoint(checkpoints.read_meta(latest), run.settings)
    restored, meta = checkpoints.restore(latest, experiment.abstract_checkpoint())
    return restored["state"], restored["log"], resume.read_totals(meta), latest


def _is_over(experiment: Experiment, step: int, totals: RunTotals) -> bool:
    return step == experiment.total_steps or experiment.early_stopping.is_over(totals.waited_epochs)


def _kept(run: Run, checkpoints: Checkpoints, totals: RunTotals, state: TrainState) -> TrainState:
    """The state that a run leaves: the last, or with early stopping that of its best epoch."""
    best = totals.best["step"] if run.experiment.early_stopping.patience and totals.best else int(state.step)
    if best == int(state.step):
        return state
    return checkpoints.restore(best, run.experiment.abstract_checkpoint())[0]["state"]


def _work_begins(stop: StopRequest) -> None:
    """From here on a signal is answered with a checkpoint, in all processes alike, once all have compiled."""
    gather(0.0)
    stop.work_begins()


def _agree(stop: StopRequest, seconds: float, since_save: float) -> tuple[float, float, bool]:
    """What all processes take for true after a call: process 0's clock, and anyone's signal."""
    if not is_multiprocess():
        return seconds, since_save, stop.requested
    everyone = gather(seconds, since_save, stop.signal or 0)
    number = int(everyone[:, 2].max())
    stop.request(number)
    # Not `requested`: a signal that came since is one that the others do not know of yet.
    return float(everyone[0, 0]), float(everyone[0, 1]), number > 0


def _checkpoint_is_due(
    experiment: Experiment, step: int, totals: RunTotals, seconds_since_save: float, stopping: bool
) -> bool:
    checkpoint = experiment.config.checkpoint
    if not checkpoint.enabled:
        return False
    epoch, within = divmod(step, experiment.steps_per_epoch)
    is_best = experiment.early_stopping.patience and totals.best and totals.best["step"] == step
    return bool(
        _is_over(experiment, step, totals)
        or is_best
        or stopping
        or (checkpoint.every_steps and step % checkpoint.every_steps == 0)
        or (checkpoint.every_epochs and within == 0 and epoch % checkpoint.every_epochs == 0)
        or (checkpoint.every_seconds and seconds_since_save >= checkpoint.every_seconds)
    )


def _save(
    run: Run,
    checkpoints: Checkpoints,
    state: TrainState,
    epoch_log: EpochLog,
    totals: RunTotals,
    validation: EvaluationResult | None,
) -> None:
    """Saves in the background; only validation decides which checkpoint is best."""
    step = int(state.step)
    if not all_finite(state.params):
        raise RunError(
            f"the parameters after step {step} are not finite, so they are not saved; the checkpoints "
            "before are untouched: try a lower optim.learning_rate"
        )
    meta = {
        "epoch": step // run.experiment.steps_per_epoch,
        "totals": asdict(totals),
        "config": run.settings.config,
        "run": run.settings.run,
    }
    metrics = None if validation is None else {"accuracy": validation.accuracy, "loss": validation.loss}
    checkpoints.save(step, {"state": state, "log": epoch_log}, meta, metrics)


def _stopped(run: Run, checkpoints: Checkpoints, state: TrainState, step: int) -> RunResult:
    checkpoints.wait()
    name = run.stop.signal.name if run.stop.signal else "a signal"
    saved = f"saved step {step}; the same command goes on from there"
    enabled = run.experiment.config.checkpoint.enabled
    run.console.note(f"stopped by {name}: {saved if enabled else 'nothing saved'}")
    return RunResult({}, state, run.stop.exit_code)
