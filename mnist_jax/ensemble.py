"""``python -m mnist_jax.ensemble``: trains fixed members side by side and lets them vote."""

from dataclasses import replace

from mnist_jax import cli
from mnist_jax.study import SIDE_BY_SIDE, SPLIT
from mnist_jax.terminal.format import describe_disputed, format_percent, quote_word

COMMAND = cli.Command(
    "python -m mnist_jax.ensemble",
    "Trains the members that the configuration names (ensemble.models times ensemble.seeds, which differ in\n"
    "ensemble.variants), several side by side, and gives soft and majority vote. The same command goes on\n"
    "where a stopped one was; evaluate and predict take the folder as one model.",
    (
        cli.Flag("workdir", "", "folder of the ensemble; left out = runs/CONFIG", metavar="DIR"),
        replace(SPLIT, default="test"),
        SIDE_BY_SIDE,
        cli.DRY_RUN,
    ),
    takes_config=True,
)


def main(arguments: cli.Arguments) -> int:
    """Trains and measures an ensemble."""
    from pathlib import Path

    from mnist_jax.runtime import distributed
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.studies.ensemble import list_members, run_ensemble
    from mnist_jax.studies.trainer import Stopped
    from mnist_jax.terminal.console import RunConsole

    workdir = arguments["workdir"] or str(Path("runs") / Path(arguments.config_file).stem)
    if not arguments["dry_run"]:
        distributed.join(**arguments.config.distributed)
    console = RunConsole(enabled=distributed.is_primary())
    enable_compile_cache(console.note)
    if arguments["dry_run"]:
        from mnist_jax.studies.dry_run import plan_members

        plan = plan_members(
            "ensemble",
            arguments.config,
            list_members(arguments.config),
            workdir,
            split=arguments["split"],
            side_by_side=arguments["side_by_side"],
            console=console,
        )
        arguments.print_json(plan)
        return 0
    try:
        summary = run_ensemble(
            arguments.config,
            workdir,
            split=arguments["split"],
            side_by_side=arguments["side_by_side"],
            console=console,
        )
    except Stopped as stopped:
        console.note(f"stopped; the same command goes on with the members that are not in {workdir} yet")
        distributed.agree_to_end()
        if distributed.is_primary():
            arguments.print_json({"workdir": workdir, "finished": False})
        return stopped.exit_code
    distributed.agree_to_end()
    if not distributed.is_primary():
        return 0
    arguments.print_json({**summary, "workdir": workdir, "finished": True})
    soft, majority = summary["soft_vote"], summary["majority_vote"]
    mean = sum(member["accuracy"] for member in summary["members"]) / len(summary["members"])
    console.print(f"{summary['split']}: members' mean accuracy {format_percent(mean, 3)}")
    console.print(
        f"soft vote {format_percent(soft['accuracy'], 3)} ({soft['errors']} errors), "
        f"{100 * summary['gain']:+.3f} points"
    )
    if disputed := summary.get("disputed_labels"):
        console.print(f"of the soft vote's errors {describe_disputed(disputed)}")
    console.print(f"majority vote {format_percent(majority['accuracy'], 3)} ({majority['errors']} errors)")
    console.print(
        f"members disagree on {format_percent(summary['disagreement'], 3)}; "
        f"soft vote's loss {soft['loss']:.4f}, calibration error {soft['calibration_error']:.4f}"
    )
    for row in summary["accuracy_by_size"]:
        console.print(
            f"  {row['size']:>2} members: {format_percent(row['accuracy'], 3)} (mean of {row['groups']})"
        )
    console.print(f"one model for evaluate and predict: --workdir {quote_word(str(workdir))}")
    return 0


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
