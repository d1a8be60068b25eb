"""Many trainings before they start: all is checked, a group of each network is measured, nothing is kept."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mnist_jax.models.registry import count_parameters
from mnist_jax.run.datasets import RunData
from mnist_jax.run.dry_run import describe_memory, memory_warnings, print_memory
from mnist_jax.runtime.devices import device_faults
from mnist_jax.runtime.distributed import refuse_several
from mnist_jax.storage.workdir import look_at_workdir
from mnist_jax.studies.ensemble import Member, member_config
from mnist_jax.studies.folder import check_records
from mnist_jax.studies.pseudo_label import FREE_FIELDS, ROLES, PseudoLabelRun, prepare_pseudo_label
from mnist_jax.studies.seeds import prepare_folds, prepare_split
from mnist_jax.studies.trainer import MemberTrainer, member_experiment
from mnist_jax.studies.vmapped_steps import take_member
from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.format import format_duration
from mnist_jax.training.state import TrainState


def plan_members(
    kind: str,
    config: ConfigDict,
    members: Sequence[Member],
    workdir: str,
    *,
    split: str,
    side_by_side: int,
    console: RunConsole,
) -> dict[str, Any]:
    """Checks what a study or an ensemble would check, and says what its members that are left would take.

    Args:
        kind: ``study`` or ``ensemble``.
        config: any configuration.
        members: who they are.
        workdir: the folder it would have; nothing is left in it.
        split: what would be measured on; a study on ``cv`` has each member once a fold.
        side_by_side: members trained at once; 0 = as many as the device has room for.
        console: the terminal output.

    Returns:
        ``num_members``, ``members_left``, ``groups`` (one a network and variant), ``memory``, ``seconds`` and
        ``warnings``, in plain values.

    Raises:
        ConfigError, DataError, RunError: what would stop the work before its first step.
    """
    refuse_several("a member that is tried", **config.distributed)
    if split == "cv":
        config, folds = prepare_folds(config, console)
        data, facts, parts = folds.hold_out(0), folds.facts(), list(range(1, folds.num_folds + 1))
    else:
        config, data, _ = prepare_split(config, split, console)
        facts, parts = data.facts(), [0]
    folder = Path(os.path.abspath(workdir))
    look_at_workdir(folder)
    records = check_records(folder, kind, config, facts | {"split": split}, free=("seed",))
    done = {(r.get("fold", 0), r.get("model", config.model.name), r["seed"]) for r in records}
    everything = [(fold, member) for fold in parts for member in members]
    left = [(fold, member) for fold, member in everything if (fold, member.model, member.seed) not in done]
    examples = (data.train.images, data.train.labels)
    groups: list[dict[str, Any]] = []
    counted = []
    for model, variant in dict.fromkeys(member.kind for _, member in left):
        alike = [(fold, member) for fold, member in left if member.kind == (model, variant)]
        seeds_of = {fold: [member.seed for f, member in alike if f == fold] for fold in parts}
        seeds = max(seeds_of.values(), key=len)
        experiment = member_experiment(member_config(config, alike[0][1]), data.train)
        with device_faults("a smaller --side_by_side"):
            trainer = MemberTrainer(experiment)
            size = trainer.choose_group_size(side_by_side, len(seeds), examples)
            measured = trainer.measure(seeds[:size], examples)
        counted.append(measured.memory)
        num_groups = sum(-(-len(of_fold) // size) for of_fold in seeds_of.values())
        groups.append(
            {
                "model": model,
                **({"variant": variant} if variant else {}),
                "members": sum(map(len, seeds_of.values())),
                "side_by_side": size,
                "num_params": count_parameters(measured.state.params) // size,
                "steps": experiment.total_steps,
                "seconds_per_step": measured.seconds_per_step,
                "training_seconds": num_groups * experiment.total_steps * measured.seconds_per_step,
                # The folds may differ in size, and then each is a program of its own.
                "compile_seconds": measured.compile_seconds * sum(map(bool, seeds_of.values())),
            }
        )
    plan: dict[str, Any] = {
        "workdir": str(folder),
        "split": split,
        "dataset": facts["dataset"],
        "num_members": len(everything),
        "members_left": len(left),
        "groups": groups,
        "memory": _largest(counted),
        "seconds": {
            "total": sum(group["training_seconds"] + group["compile_seconds"] for group in groups),
            "method": "measured: the first steps of a group of each kind; measuring members left out",
        },
        "warnings": _warnings(data),
    }
    if plan["memory"]:
        plan["warnings"] += memory_warnings(plan["memory"], "a smaller --side_by_side or batch_size")
    console.row("members", f"{plan['members_left']} of {plan['num_members']} to train in {plan['workdir']}")
    for group in plan["groups"]:
        console.row(
            " ".join(filter(None, (group["model"], group.get("variant")))),
            f"{group['members']} of {group['num_params']:,} parameters, {group['side_by_side']} side by "
            f"side, {group['steps']:,} steps: {format_duration(group['training_seconds'])}",
        )
    _print_end(plan, console)
    return plan


def plan_pseudo_label(config: ConfigDict, workdir: str, *, split: str, console: RunConsole) -> dict[str, Any]:
    """Checks what `run_pseudo_label` would check, and says what the seeds that are left would take.

    Takes and raises what `run_pseudo_label` does, and leaves nothing in the folder.

    Returns:
        ``num_seeds``, ``seeds_left``, ``labeled``, ``pool_size``, ``roles`` (``teacher``, ``student`` and
        ``alone``: what one training takes, and how many of them a seed has), ``num_params``, ``memory``,
        ``seconds`` and ``warnings``, in plain values.
    """
    folder = Path(os.path.abspath(workdir))
    look_at_workdir(folder)
    run = prepare_pseudo_label(config, split, console)
    records = check_records(folder, "pseudo_label", run.config, run.facts, FREE_FIELDS)
    left = sorted(set(run.seeds) - {record["seed"] for record in records})
    settings, drawn = run.config.pseudo_label, run.draw(run.seeds[0])
    trainings = {"teacher": 1, "student": settings.rounds, "alone": 1}
    with device_faults("a smaller batch_size"):
        measured = {role: run.measure(role) for role in ROLES if left}
        seconds_per_image = _measure_answers(run, measured["teacher"].state) if left else 0.0
    answers = (1 + settings.views) * settings.rounds * len(drawn.pool)
    answers += sum(trainings.values()) * run.measured.num_examples
    roles = [
        {
            "role": role,
            "trainings": len(left) * trainings[role],
            "steps": run.steps(role),
            "seconds_per_step": taken.seconds_per_step,
            "training_seconds": len(left) * trainings[role] * run.steps(role) * taken.seconds_per_step,
            "compile_seconds": taken.compile_seconds,
        }
        for role, taken in measured.items()
    ]
    labeling = len(left) * answers * seconds_per_image
    plan: dict[str, Any] = {
        "workdir": str(folder),
        "split": split,
        "transductive": run.facts["transductive"],
        "dataset": run.facts["dataset"],
        "num_seeds": len(run.seeds),
        "seeds_left": len(left),
        "labeled": settings.labeled_examples,
        "pool_size": len(drawn.pool) - settings.queried_examples,
        "num_params": run.num_params,
        "roles": roles,
        "memory": _largest([taken.memory for taken in measured.values()]),
        "seconds": {
            "total": labeling + sum(role["training_seconds"] + role["compile_seconds"] for role in roles),
            "labeling": labeling,
            "method": "measured: the first steps of each training, one evaluation; saving left out",
        },
        "warnings": _warnings(run.data),
    }
    if plan["memory"]:
        plan["warnings"] += memory_warnings(plan["memory"], "a smaller batch_size")
    console.row("seeds", f"{len(left)} of {len(run.seeds)} to train in {folder}")
    console.row("images", f"{settings.labeled_examples:,} labeled, {len(drawn.pool):,} in the pool")
    for role in roles:
        duration = format_duration(role["training_seconds"])
        console.row(role["role"], f"{role['trainings']} of {role['steps']:,} steps: {duration}")
    if left:
        console.row("labeling", f"{format_duration(labeling)}, measuring included")
    _print_end(plan, console)
    return plan


def _measure_answers(run: PseudoLabelRun, states: TrainState) -> float:
    """Seconds that the answer to one image takes, once compiled; ``states`` are of a group of one."""
    trainer, state = run.trainer(run.steps("teacher")), take_member(states, 0)
    trainer.evaluate(state, run.measured)
    started = time.perf_counter()
    trainer.evaluate(state, run.measured)
    return (time.perf_counter() - started) / run.measured.num_examples


def _largest(counted: Sequence[dict[str, int]]) -> dict[str, Any] | None:
    return describe_memory(max(counted, key=lambda memory: memory["total"])) if counted else None


def _warnings(data: RunData) -> list[str]:
    return [" ".join(data.splits.notice.split())] if data.splits.notice else []


def _print_end(plan: dict[str, Any], console: RunConsole) -> None:
    if plan["memory"]:
        print_memory(plan["memory"], console)
    console.row("time", f"about {format_duration(plan['seconds']['total'])}, compiling included")
    console.row("", plan["seconds"]["method"])
    for warning in plan["warnings"]:
        console.row("warning", warning, "bold yellow")
    console.print("dry run: nothing was trained or written")
