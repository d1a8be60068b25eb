"""``python -m mnist_jax.train``: trains, evaluates, checkpoints, writes the run."""

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_jax import cli
from mnist_jax.errors import ConfigError

if TYPE_CHECKING:
    from mnist_jax.terminal.console import RunConsole

COMMAND = cli.Command(
    "python -m mnist_jax.train",
    "Trains a network as configured, evaluates it on the test set, and leaves checkpoints, metrics and a\n"
    "summary in a folder.\n"
    "The same command with the same --workdir goes on where a stopped run was.",
    (
        cli.Flag(
            "workdir",
            "",
            "folder of the run; left out = runs/CONFIG-TIME, new each time",
            non_empty=True,
            metavar="DIR",
        ),
        cli.Flag(
            "init_from",
            "",
            "start from the weights of this run, or of one of its checkpoints: config.init.run",
            non_empty=True,
            metavar="DIR",
            sets="init.run",
        ),
        cli.Flag(
            "extend",
            0,
            "train the finished run in --workdir further, to so many epochs in all, with a new schedule over "
            "those added; --config may be left out",
            at_least=1,
            metavar="EPOCHS",
            sets="num_epochs",
            continues=True,
        ),
        cli.DRY_RUN,
    ),
    takes_config=True,
)


def main(arguments: cli.Arguments) -> int:
    """Runs one training as the command line says."""
    from mnist_jax.run.datasets import begin_to_load

    if arguments["extend"] and not arguments["workdir"]:
        raise ConfigError(["--extend: the run is missing; give --workdir, the folder of a finished run"])
    loading = None if arguments["dry_run"] else begin_to_load(arguments.config)
    from mnist_jax.report.after_run import leave_report
    from mnist_jax.run.loop import train_and_evaluate
    from mnist_jax.runtime import distributed
    from mnist_jax.runtime.collectives import on_primary
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.storage.workdir import new_workdir
    from mnist_jax.terminal.console import RunConsole

    distributed.join(**arguments.config.distributed)
    console = RunConsole(enabled=distributed.is_primary())
    enable_compile_cache(console.note)
    if arguments["dry_run"]:
        return _dry_run(arguments, console)
    with contextlib.ExitStack() as made:
        workdir = arguments["workdir"] or on_primary(
            lambda: str(made.enter_context(new_workdir("runs", default_name(arguments.config_file))))
        )
        result = train_and_evaluate(
            arguments.config, workdir, console, extend=bool(arguments["extend"]), loading=loading
        )
    # Reached by all processes or by none: they wait for each other at the end.
    distributed.agree_to_end()
    if distributed.is_primary():
        with_report = result.summary and arguments.config.report
        report = leave_report(Path(workdir), result, console) if with_report else None
        arguments.print_json(
            {**result.summary, "workdir": workdir, "finished": bool(result.summary), "report": report}
        )
    return result.exit_code


def _dry_run(arguments: cli.Arguments, console: "RunConsole") -> int:
    from mnist_jax.run.dry_run import plan_run
    from mnist_jax.runtime import distributed

    workdir = arguments["workdir"] or str(Path("runs") / default_name(arguments.config_file))
    plan = plan_run(arguments.config, workdir, console, extend=bool(arguments["extend"]))
    distributed.agree_to_end()
    if distributed.is_primary():
        arguments.print_json(plan)
    return 0


def default_name(config_file: str) -> str:
    """Returns the name of a new run's folder, made of the configuration and the time."""
    return f"{Path(config_file).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


cli.make_callable(__name__, "mnist_jax.api:train")

if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
