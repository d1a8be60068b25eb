"""``python -m mnist_jax.study``: many seeds of one configuration, or a comparison of two such studies."""

import dataclasses

from mnist_jax import cli
from mnist_jax.config.seeds import SEEDS_MEANS, SEEDS_PATTERN

# Of the other commands that train many networks, too.
SPLIT = cli.Flag(
    "split",
    "validation",
    "what to measure on: images held out of train while choosing, or the test set once all is chosen",
    choices=("validation", "test"),
    metavar="validation|test",
)
SIDE_BY_SIDE = cli.Flag(
    "side_by_side",
    0,
    "members trained at once; 0 = as many as an accelerator has room for, on a CPU one after another",
    at_least=0,
    metavar="K",
)
COMMAND = cli.Command(
    "python -m mnist_jax.study",
    "Trains a configuration with many seeds, several side by side, and reports mean, SD, SE, min, max and\n"
    "a 95% interval. The same command goes on where a stopped one was.\n"
    "--compare DIR DIR, instead of --config, says whether two studies differ.",
    (
        cli.Flag(
            "seeds",
            "0:5",
            "seeds to train",
            pattern=SEEDS_PATTERN,
            pattern_means=SEEDS_MEANS,
            metavar="0:30",
        ),
        dataclasses.replace(
            SPLIT,
            description="what to measure on: images held out of train while choosing; cv, five folds of "
            "train, each held out in its turn; or the test set once all is chosen",
            choices=("validation", "cv", "test"),
            metavar="validation|cv|test",
        ),
        cli.Flag("workdir", "", "folder of the study; left out = runs/study-CONFIG-SPLIT", metavar="DIR"),
        SIDE_BY_SIDE,
        cli.Flag(
            "compare",
            "",
            "compares two studies (folders, or their results.jsonl), paired by seed: the difference, its "
            "p-value, and how many seeds would show it",
            non_empty=True,
            metavar="DIR DIR",
            num_values=2,
            replaces_config=True,
        ),
        cli.DRY_RUN,
    ),
    takes_config=True,
)


def main(arguments: cli.Arguments) -> int:
    """Runs a study, or compares two."""
    if arguments["compare"]:
        return _compare(arguments)
    return _train(arguments)


def _train(arguments: cli.Arguments) -> int:
    from pathlib import Path

    from mnist_jax.config.seeds import parse_seeds
    from mnist_jax.metrics.statistics import Summary
    from mnist_jax.runtime import distributed
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.studies.seeds import describe_statistics, run_study
    from mnist_jax.studies.trainer import Stopped
    from mnist_jax.terminal.console import RunConsole

    seeds = parse_seeds(arguments["seeds"])
    split = arguments["split"]
    workdir = arguments["workdir"] or str(Path("runs") / f"study-{Path(arguments.config_file).stem}-{split}")
    if not arguments["dry_run"]:
        distributed.join(**arguments.config.distributed)
    console = RunConsole(enabled=distributed.is_primary())
    enable_compile_cache(console.note)
    if arguments["dry_run"]:
        from mnist_jax.studies.dry_run import plan_members
        from mnist_jax.studies.ensemble import Member

        members = [Member(arguments.config.model.name, seed) for seed in seeds]
        size = arguments["side_by_side"]
        plan = plan_members(
            "study", arguments.config, members, workdir, split=split, side_by_side=size, console=console
        )
        arguments.print_json(plan)
        return 0
    try:
        summary = run_study(
            arguments.config,
            seeds,
            workdir,
            split=split,
            side_by_side=arguments["side_by_side"],
            console=console,
        )
    except Stopped as stopped:
        console.note(f"stopped; the same command goes on with the seeds that are not in {workdir} yet")
        distributed.agree_to_end()
        if distributed.is_primary():
            arguments.print_json({"workdir": workdir, "finished": False})
        return stopped.exit_code
    distributed.agree_to_end()
    if not distributed.is_primary():
        return 0
    arguments.print_json({**summary, "workdir": workdir, "finished": True})
    for fold in summary.get("folds", ()):
        described = describe_statistics(Summary(**fold["accuracy"]))
        console.print(f"fold {fold['fold']} ({fold['num_examples']:,} images) {described}")
    console.print(f"{split} accuracy {describe_statistics(Summary(**summary['statistics']['accuracy']))}")
    console.print(f"results in {workdir}")
    return 0


def _compare(arguments: cli.Arguments) -> int:
    from mnist_jax.metrics.statistics import Summary
    from mnist_jax.studies.comparison import compare_studies
    from mnist_jax.studies.seeds import describe_statistics

    found = compare_studies(*arguments["compare"])
    arguments.print_json(found)
    for side in ("first", "second"):
        name = found[side].pop("name")
        print(f"{name}: {found['split']} accuracy {describe_statistics(Summary(**found[side]))}")
    print(f"second less first: {describe_statistics(Summary(**found['differences']))}")
    if found["p_value"] is not None:
        verdict = "they differ" if found["differs"] else "no difference beyond chance is shown"
        print(f"paired t-test: p = {found['p_value']:.2g}: {verdict} (at 5%)")
    elif found["differences"]["n"] == 1:
        print("one common seed says nothing of chance; expected at least two")
    else:
        print("the same difference for every common seed: without spread there is no t-test")
    if found["seeds_needed"]:
        print(f"a difference of this size is found four times out of five with {found['seeds_needed']} seeds")
    if found["test_labels_used_for_choice"]:
        print("measured on test: a choice between the two is a choice by test labels")
        for path in arguments["compare"]:
            noted = path in found["noted_in"]
            print(f"  noted in {path}" if noted else f"  not noted in {path}: no summary.json to write it in")
    return 0


cli.make_callable(__name__, "mnist_jax.api:study")

if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
