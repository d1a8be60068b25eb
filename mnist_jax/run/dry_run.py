"""A training before it starts: all is checked and measured, nothing is trained or written."""

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.config.check import as_dict, check
from mnist_jax.models.registry import count_parameters, summarize_layers
from mnist_jax.run import resume
from mnist_jax.run.datasets import RunData, load_run_data
from mnist_jax.run.evaluations import make_evaluator
from mnist_jax.run.experiment import Experiment, experiment_for
from mnist_jax.run.extension import describe_extensions, find_extensions, first_step
from mnist_jax.run.log import describe_run
from mnist_jax.run.measure import available_memory, count_memory, measure_steps
from mnist_jax.run.start import find_start
from mnist_jax.runtime.collectives import on_primary
from mnist_jax.runtime.devices import device_faults, make_layout
from mnist_jax.storage.workdir import CHECKPOINTS_DIR, look_at_workdir
from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.format import format_bytes, format_duration
from mnist_jax.training.state import TrainState

# Of what is there: memory that is all but full fails as well.
_SHARE_OF_MEMORY = 0.95


def plan_run(
    config: ConfigDict, workdir: str, console: RunConsole, *, extend: bool = False
) -> dict[str, Any]:
    """Checks what `train_and_evaluate` would check, and says what the training would take.

    The network is built and compiled as for the training, so that the persistent compilation cache has the
    programs afterwards. A few steps and one evaluation are done on a state that is thrown away.

    Args:
        config: any configuration.
        workdir: the folder that the run would have; nothing is left in it.
        console: the terminal output.
        extend: as for `train_and_evaluate`.

    Returns:
        ``layers``, ``num_params``, ``total_steps``, ``steps_left``, ``memory``, ``seconds``, ``warnings`` and
        more, in plain values; docs/commands.md tells their meaning.

    Raises:
        ConfigError, DataError, RunError: what would stop the training before its first step.
    """
    config = check(config)
    with device_faults("a smaller batch_size or eval_batch_size"):
        layout = make_layout()
        config, data = load_run_data(config, layout.num_devices)
        folder = Path(os.path.abspath(workdir))
        on_primary(lambda: look_at_workdir(folder))
        extensions = on_primary(lambda: find_extensions(folder, config, data.train.num_examples, extend))
        experiment = experiment_for(config, layout, data.train, first_step=first_step(extensions))
        settings = resume.Settings(as_dict(config), data.facts() | describe_extensions(extensions))
        step, finished = on_primary(lambda: _steps_done(folder, experiment, settings))
        if data.splits.notice:
            console.notice(data.splits.notice)
        if not finished:
            find_start(experiment, data, folder, console.note)
        state = experiment.create_state()
        console.opening(describe_run(experiment, data, folder, state), step)
        layers = summarize_layers(experiment.model, experiment.image_shape)
        num_statistics = count_parameters(state.batch_stats)
        console.model_summary(
            layers, num_trainable=count_parameters(state.params), num_non_trainable=num_statistics
        )
        for remark in data.remarks:
            console.note(remark)
        num_params, bytes_of_state = count_parameters(state.params), _bytes_of(state)
        measured = _measure(experiment, data, state)
    disk = _disk(config, folder, bytes_of_state)
    plan = {
        "workdir": str(folder),
        "finished": finished,
        "dataset": data.facts()["dataset"],
        "image_shape": list(experiment.image_shape),
        "class_names": list(experiment.class_names),
        "layers": [
            {"name": name, "type": kind, "output_shape": list(shape), "num_params": count}
            for name, kind, shape, count in layers
        ],
        "num_params": num_params,
        "num_statistics": num_statistics,
        "steps_per_epoch": experiment.steps_per_epoch,
        "total_steps": experiment.total_steps,
        "steps_left": experiment.total_steps - step,
        "memory": describe_memory(measured["memory"]),
        "disk": disk,
        "seconds": _estimate(experiment, data, step, measured),
    }
    plan["warnings"] = _find_warnings(plan, data)
    _print(plan, console)
    return plan


def _steps_done(folder: Path, experiment: Experiment, settings: resume.Settings) -> tuple[int, bool]:
    """Steps that a run in the folder would not do again, and whether it is finished."""
    if resume.check_folder(folder, settings, experiment.total_steps) is not None:
        return experiment.total_steps, True
    checkpoints = CheckpointFolder(folder / CHECKPOINTS_DIR, "", lambda warning: None)
    return next((step for step, _ in checkpoints.intact(checkpoints.latest_first())), 0), False


def _measure(experiment: Experiment, data: RunData, state: TrainState) -> dict[str, Any]:
    """Compiles training and evaluation, and does a little of each; the state is donated."""
    steps = experiment.compiled_steps(data.train)
    training = measure_steps(steps, experiment.steps_per_call(), state, experiment.create_log())
    evaluator = make_evaluator(experiment)
    measured_on = data.validation or data.test
    examples = experiment.layout.replicate((measured_on.images, measured_on.labels))
    variables = training.state.eval_variables()
    program = evaluator.function.compiled(variables, *examples)
    started = time.perf_counter()
    jax.block_until_ready(program(variables, *examples))
    return {
        "memory": max(training.memory, count_memory(program), key=lambda counted: counted["total"]),
        "steps": training.num_steps,
        "seconds_per_step": training.seconds_per_step,
        "seconds_per_image_evaluated": (time.perf_counter() - started) / measured_on.num_examples,
        "compile_seconds": training.compile_seconds + evaluator.function.compile_seconds,
    }


def describe_memory(counted: Mapping[str, int]) -> dict[str, Any]:
    """Returns what `count_memory` counted, what there is, and how it was counted."""
    return {
        **{f"{name}_bytes": size for name, size in counted.items()},
        "available_bytes": available_memory(),
        "method": "counted by the compiled program; the libraries' own comes on top",
    }


def _disk(config: ConfigDict, folder: Path, bytes_of_state: int) -> dict[str, Any]:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    # While one is written, those it replaces are still there.
    count = config.checkpoint.keep_latest + config.checkpoint.keep_best + 1
    return {
        "checkpoint_bytes": bytes_of_state,
        "checkpoints_bytes": bytes_of_state * count if config.checkpoint.enabled else 0,
        "free_bytes": shutil.disk_usage(there).free,
    }


def _estimate(
    experiment: Experiment, data: RunData, step: int, measured: Mapping[str, Any]
) -> dict[str, Any]:
    epochs_left = experiment.config.num_epochs - step // experiment.steps_per_epoch
    images = epochs_left * (data.test if data.validation is None else data.validation).num_examples
    if data.validation is not None:
        images += data.test.num_examples
    steps_left = experiment.total_steps - step
    training = steps_left * measured["seconds_per_step"]
    evaluating = images * measured["seconds_per_image_evaluated"] if steps_left else 0.0
    return {
        "total": training + evaluating + (measured["compile_seconds"] if steps_left else 0.0),
        "training": training,
        "evaluating": evaluating,
        "compiling": measured["compile_seconds"],
        "seconds_per_step": measured["seconds_per_step"],
        "method": f"measured: {measured['steps']} steps, 1 evaluation; checkpoints and report left out",
    }


def _find_warnings(plan: Mapping[str, Any], data: RunData) -> list[str]:
    warnings = [" ".join(data.splits.notice.split())] if data.splits.notice else []
    disk = plan["disk"]
    warnings += memory_warnings(plan["memory"], "a smaller batch_size")
    if disk["checkpoints_bytes"] > disk["free_bytes"]:
        warnings.append(
            f"checkpoints need {format_bytes(disk['checkpoints_bytes'])} and the disk has "
            f"{format_bytes(disk['free_bytes'])} left: lower checkpoint.keep_latest or keep_best"
        )
    if plan["finished"]:
        warnings.append("the run in this folder is finished: training would do nothing")
    return warnings


def memory_warnings(memory: Mapping[str, Any], advice: str) -> list[str]:
    """Returns a line where a device has not the memory that is needed."""
    available = memory["available_bytes"]
    if not available or memory["total_bytes"] <= _SHARE_OF_MEMORY * available:
        return []
    needed = f"{format_bytes(memory['total_bytes'])} of memory are needed"
    return [f"{needed} and {format_bytes(available)} are there: try {advice}"]


def print_memory(memory: Mapping[str, Any], console: RunConsole) -> None:
    """Prints what `describe_memory` returned."""
    available = memory["available_bytes"]
    there = f"; {format_bytes(available)} are there" if available else ""
    console.row("memory", f"{format_bytes(memory['total_bytes'])} a device{there}")
    console.row("", memory["method"])


def _print(plan: Mapping[str, Any], console: RunConsole) -> None:
    disk, seconds = plan["disk"], plan["seconds"]
    console.row("left", f"{plan['steps_left']:,} of {plan['total_steps']:,} steps")
    print_memory(plan["memory"], console)
    console.row(
        "disk",
        f"{format_bytes(disk['checkpoints_bytes'])} for checkpoints of "
        f"{format_bytes(disk['checkpoint_bytes'])}; {format_bytes(disk['free_bytes'])} are free",
    )
    parts = ", ".join(
        f"{format_duration(seconds[name])} {name}" for name in ("training", "compiling", "evaluating")
    )
    console.row("time", f"about {format_duration(seconds['total'])}: {parts}")
    console.row("", seconds["method"])
    for warning in plan["warnings"]:
        console.row("warning", warning, "bold yellow")
    console.print("dry run: nothing was trained or written")


def _bytes_of(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
