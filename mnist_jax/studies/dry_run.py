"""Many trainings before they start: all is checked, a group of each network is measured, nothing is kept."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mnist_jax.config.check import as_dict
from mnist_jax.models.registry import count_parameters
from mnist_jax.run.dry_run import describe_memory, memory_warnings, print_memory
from mnist_jax.run.resume import Settings, refuse_differences
from mnist_jax.runtime.devices import device_faults
from mnist_jax.storage.json_files import CONFIG_FILE, read_config
from mnist_jax.storage.results import RESULTS_FILE, read_results
from mnist_jax.storage.workdir import look_at_workdir
from mnist_jax.studies.seeds import prepare_split
from mnist_jax.studies.trainer import MemberTrainer, member_experiment
from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.format import format_duration


def plan_members(
    kind: str,
    config: ConfigDict,
    members: Sequence[tuple[str, int]],
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
        members: network and seed of each.
        workdir: the folder it would have; nothing is left in it.
        split: what would be measured on.
        side_by_side: members trained at once; 0 = as many as the device has room for.
        console: the terminal output.

    Returns:
        ``num_members``, ``members_left``, ``groups`` (one a network), ``memory``, ``seconds`` and
        ``warnings``, in plain values.

    Raises:
        ConfigError, DataError, RunError: what would stop the work before its first step.
    """
    config, data, _ = prepare_split(config, split, console)
    folder = Path(os.path.abspath(workdir))
    look_at_workdir(folder)
    if (folder / CONFIG_FILE).exists():
        wanted = Settings(as_dict(config), data.facts() | {"split": split, "kind": kind})
        refuse_differences(Settings(*read_config(folder)), wanted, free=("log_every_steps", "seed"))
    records = read_results(folder) if (folder / RESULTS_FILE).exists() else []
    done = {(record.get("model", config.model.name), record["seed"]) for record in records}
    left = [member for member in members if member not in done]
    examples = (data.train.images, data.train.labels)
    groups: list[dict[str, Any]] = []
    counted = []
    for model in dict.fromkeys(model for model, _ in left):
        seeds = [seed for name, seed in left if name == model]
        changed = copy.deepcopy(config)
        changed.model.name = model
        experiment = member_experiment(changed, data.train)
        with device_faults("a smaller --side_by_side"):
            trainer = MemberTrainer(experiment)
            size = trainer.choose_group_size(side_by_side, len(seeds), examples)
            measured = trainer.measure(seeds[:size], examples)
        counted.append(measured.memory)
        num_groups = -(-len(seeds) // size)
        groups.append(
            {
                "model": model,
                "members": len(seeds),
                "side_by_side": size,
                "num_params": count_parameters(measured.state.params) // size,
                "steps": experiment.total_steps,
                "seconds_per_step": measured.seconds_per_step,
                "training_seconds": num_groups * experiment.total_steps * measured.seconds_per_step,
                "compile_seconds": measured.compile_seconds,
            }
        )
    plan: dict[str, Any] = {
        "workdir": str(folder),
        "split": split,
        "dataset": data.facts()["dataset"],
        "num_members": len(members),
        "members_left": len(left),
        "groups": groups,
        "memory": describe_memory(max(counted, key=lambda memory: memory["total"])) if counted else None,
        "seconds": {
            "total": sum(group["training_seconds"] + group["compile_seconds"] for group in groups),
            "method": "measured: the first steps of a group of each network; measuring members left out",
        },
        "warnings": [" ".join(data.splits.notice.split())] if data.splits.notice else [],
    }
    if plan["memory"]:
        plan["warnings"] += memory_warnings(plan["memory"], "a smaller --side_by_side or batch_size")
    _print(plan, console)
    return plan


def _print(plan: dict[str, Any], console: RunConsole) -> None:
    console.row("members", f"{plan['members_left']} of {plan['num_members']} to train in {plan['workdir']}")
    for group in plan["groups"]:
        console.row(
            group["model"],
            f"{group['members']} of {group['num_params']:,} parameters, {group['side_by_side']} side by "
            f"side, {group['steps']:,} steps: {format_duration(group['training_seconds'])}",
        )
    if plan["memory"]:
        print_memory(plan["memory"], console)
    console.row("time", f"about {format_duration(plan['seconds']['total'])}, compiling included")
    console.row("", plan["seconds"]["method"])
    for warning in plan["warnings"]:
        console.row("warning", warning, "bold yellow")
    console.print("dry run: nothing was trained or written")
