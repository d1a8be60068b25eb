"""``python -m mnist_jax.pseudo_label``: what unlabeled images add to a few labeled ones."""

from dataclasses import replace

from mnist_jax import cli
from mnist_jax.study import SPLIT

COMMAND = cli.Command(
    "python -m mnist_jax.pseudo_label",
    "Trains a teacher on a few labeled images, lets it label a pool, and trains a student on both; gives\n"
    "the gain over the teacher and over a supervised-only network of the same compute, over several seeds.\n"
    "The same command goes on where a stopped one was.",
    (
        cli.Flag("workdir", "", "folder of the results; left out = runs/CONFIG-SPLIT", metavar="DIR"),
        replace(SPLIT, default="test"),
        cli.DRY_RUN,
    ),
    takes_config=True,
)


def main(arguments: cli.Arguments) -> int:
    """Runs the comparison."""
    from pathlib import Path

    from mnist_jax.metrics.statistics import Summary
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.studies.pseudo_label import run_pseudo_label
    from mnist_jax.studies.seeds import describe_statistics
    from mnist_jax.studies.trainer import Stopped
    from mnist_jax.terminal.console import RunConsole

    split = arguments["split"]
    workdir = arguments["workdir"] or str(Path("runs") / f"{Path(arguments.config_file).stem}-{split}")
    console = RunConsole()
    enable_compile_cache(console.note)
    if arguments["dry_run"]:
        from mnist_jax.studies.dry_run import plan_pseudo_label

        arguments.print_json(plan_pseudo_label(arguments.config, workdir, split=split, console=console))
        return 0
    try:
        summary = run_pseudo_label(arguments.config, workdir, split=split, console=console)
    except Stopped as stopped:
        console.note(f"stopped; the same command goes on with the seeds that are not in {workdir} yet")
        arguments.print_json({"workdir": workdir, "finished": False})
        return stopped.exit_code
    arguments.print_json({**summary, "workdir": workdir, "finished": True})
    flag = " (TRANSDUCTIVE)" if summary["transductive"] else ""
    queried = f", {summary['queried']:,} of them queried" if summary["queried"] else ""
    console.print(f"{summary['labeled']:,} labeled images{queried}, measured on {split}{flag}")
    for name, figures in summary["statistics"].items():
        console.print(f"  {name.replace('_', ' '):<26} {describe_statistics(Summary(**figures))}")
    console.print(f"results in {workdir}")
    return 0


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
