"""``python -m benchmarks.saving_overhead``: what checkpoints cost a run of training."""

import statistics
import sys
import tempfile
from typing import Any

from benchmarks.result_files import OUTPUT_FLAGS, commit_of, make_result, with_default_config, write_result
from mnist_jax import cli

COMMAND = cli.Command(
    "python -m benchmarks.saving_overhead",
    "Trains a configuration in pieces of some seconds, every second one with a checkpoint, and compares\n"
    "pairs. A checkpoint is saved as a run does, in the background; its piece ends once it is on the disk.\n"
    "--config is configs/default.py where it is left out.",
    (
        cli.Flag("rounds", 15, "pairs of pieces", at_least=1, at_most=1000, metavar="N"),
        cli.Flag("steps", 100, "steps a piece", at_least=1, at_most=10_000, metavar="N"),
        *OUTPUT_FLAGS,
    ),
    takes_config=True,
)


def main(arguments: cli.Arguments) -> int:
    """Runs the pairs, prints what saving adds, and writes what was asked for."""
    from benchmarks.contenders import Work
    from mnist_jax.config.automatic import resolve
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.runtime.environment import collect_versions, describe_device

    enable_compile_cache(lambda note: print(note, file=sys.stderr))
    config, _ = resolve(arguments.config, Work().num_examples)
    rounds, steps = arguments["rounds"], arguments["steps"]
    seconds, steps_per_epoch = measure(config, rounds, steps)
    steps_a_run = steps_per_epoch * config.num_epochs
    figures = summarize(
        seconds[True], seconds[False], steps, steps_a_run, saves_a_run(config, steps_per_epoch)
    )
    settings = {"config_file": arguments.config_file, "rounds": rounds, "steps": steps}
    device = str(describe_device()["device"])
    result = make_result("saving_overhead", device, settings, figures, collect_versions())
    print(table(result))
    write_result(result, arguments["json"], arguments["keep"])
    if arguments["plot"]:
        from benchmarks.plots import plot_rounds

        pairs = list(zip(seconds[True], seconds[False], strict=True))
        plot_rounds(pairs, ("with saving", "without"), arguments["plot"])
    return 0


def measure(config: Any, rounds: int, num_steps: int) -> tuple[dict[bool, list[float]], int]:
    """Times pieces with (True) and without (False) a checkpoint, in turn, on random images.

    Returns:
        the seconds of each piece, and the steps of an epoch of the configuration.
    """
    import time

    from benchmarks.contenders import Work
    from benchmarks.contenders.ours import Steps
    from mnist_jax.checkpoints.manager import Checkpoints
    from mnist_jax.config.check import as_dict
    from mnist_jax.run.experiment import build_experiment
    from mnist_jax.runtime.devices import make_layout

    work = Work(config.batch_size)
    experiment = build_experiment(
        config,
        make_layout(),
        image_shape=(28, 28, 1),
        class_names=tuple("0123456789"),
        num_train=work.num_examples,
    )
    steps = Steps(experiment, work.images(), work.labels())
    meta = {"config": as_dict(config)}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:

        def piece(saving: bool) -> float:
            started = time.perf_counter()
            if saving:
                checkpoints.save(steps.step, {"state": steps.state, "log": steps.log}, meta)
            steps.run(num_steps)
            checkpoints.wait()
            return time.perf_counter() - started

        # Compiled, and Orbax loaded, before anything is timed.
        steps.run(1)
        piece(True)
        for index in range(rounds):
            # Which of the two goes first changes from pair to pair.
            for saving in (True, False) if index % 2 == 0 else (False, True):
                seconds[saving].append(piece(saving))
            print(
                f"pair {index + 1}: {seconds[True][-1]:.2f} s with saving, "
                f"{seconds[False][-1]:.2f} s without",
                file=sys.stderr,
            )
    return seconds, experiment.steps_per_epoch


def saves_a_run(config: Any, steps_per_epoch: int) -> int:
    """Counts the checkpoints of a whole run, those by the clock left out."""
    checkpoint, total = config.checkpoint, steps_per_epoch * config.num_epochs
    steps = {total}
    if checkpoint.every_steps:
        steps |= set(range(checkpoint.every_steps, total + 1, checkpoint.every_steps))
    if checkpoint.every_epochs:
        interval = checkpoint.every_epochs * steps_per_epoch
        steps |= set(range(interval, total + 1, interval))
    return len(steps)


def summarize(
    saving: list[float], plain: list[float], num_steps: int, steps_a_run: int, saves: int
) -> dict[str, Any]:
    """Compares within pairs: seconds a save, and their share of a run's training."""
    added = [with_saving - without for with_saving, without in zip(saving, plain, strict=True)]
    seconds_a_run = statistics.median(plain) / num_steps * steps_a_run
    seconds_per_save = statistics.median(added)
    return {
        "seconds_with_saving": saving,
        "seconds_without": plain,
        "seconds_per_save": seconds_per_save,
        "saves_a_run": saves,
        "training_seconds_a_run": seconds_a_run,
        "added_share": saves * seconds_per_save / seconds_a_run,
    }


def table(result: dict[str, Any]) -> str:
    """Lays a result out as text."""
    added = [
        with_saving - without
        for with_saving, without in zip(result["seconds_with_saving"], result["seconds_without"], strict=True)
    ]
    return (
        f"{result['device']}; {result['settings']['config_file']}; commit "
        f"{commit_of(result)}\n"
        f"a checkpoint adds {result['seconds_per_save']:.2f} s (median of {len(added)} pairs, "
        f"{min(added):.2f} to {max(added):.2f}); "
        f"{result['saves_a_run']} of them add {result['added_share']:.1%} to the "
        f"{result['training_seconds_a_run']:.0f} s of training"
    )


if __name__ == "__main__":
    words = with_default_config(sys.argv[1:], "configs/default.py")
    sys.exit(cli.run_main(main, COMMAND, words))
