"""Fixed members, networks times seeds, trained side by side and put to the vote."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy.special import softmax

from mnist_jax.config.check import with_variant
from mnist_jax.config.seeds import parse_seeds
from mnist_jax.config.variants import parse_variants
from mnist_jax.data import Dataset
from mnist_jax.data.writers import count_disputed_errors
from mnist_jax.errors import ConfigError
from mnist_jax.metrics.voting import describe_vote, soft_vote
from mnist_jax.models.forward import forward_fn
from mnist_jax.models.registry import MODELS, count_parameters
from mnist_jax.run.experiment import Experiment
from mnist_jax.run.load import ENSEMBLE_FILE, MEMBERS_DIR, load
from mnist_jax.run.summary import RunTotals
from mnist_jax.runtime.collectives import on_primary
from mnist_jax.runtime.devices import device_faults
from mnist_jax.runtime.environment import peak_host_memory_bytes, provenance
from mnist_jax.runtime.signals import StopRequest
from mnist_jax.storage.json_files import SUMMARY_FILE, write_json_atomic
from mnist_jax.storage.results import append_results, read_results
from mnist_jax.storage.votes import write_votes
from mnist_jax.studies.folder import open_for_all, open_records, save_member
from mnist_jax.studies.seeds import prepare_split
from mnist_jax.studies.trainer import Group, MemberTrainer, Trained, member_experiment, train_groups
from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.format import format_percent
from mnist_jax.training.logits import evaluate_logits, make_logits_fn


@dataclass(frozen=True)
class Member:
    """One member: which network, with which seed, and in what it differs."""

    model: str
    seed: int
    variant: str = ""  # settings, as one of ``ensemble.variants``

    @property
    def kind(self) -> tuple[str, str]:
        """Network and variant: what members that are trained side by side have in common."""
        return self.model, self.variant

    @property
    def folder(self) -> str:
        """Name of its folder below ``members``."""
        return f"{self.model}-{self.seed}"

    def as_dict(self) -> dict[str, Any]:
        """Returns ``{"model", "seed", "variant", "folder"}``, without ``variant`` where there is none."""
        return {name: value for name, value in asdict(self).items() if value != ""} | {"folder": self.folder}


def list_members(config: ConfigDict) -> list[Member]:
    """The members that a configuration names: each network with each seed, which take the variants in turn.

    The seeds change slowest, so that neighboring members are of different networks.

    Raises:
        ConfigError: a name or a list of seeds is wrong.
    """
    names = [name for name in config.ensemble.models.split(",") if name] or [config.model.name]
    unknown = [name for name in names if name not in MODELS]
    if unknown or len(set(names)) < len(names):
        text = f"{unknown[0]!r} is no network" if unknown else "a network is named twice"
        raise ConfigError([f"ensemble.models: {text}; expected some of {', '.join(MODELS)}, each once"])
    seeds, variants = parse_seeds(config.ensemble.seeds), parse_variants(config.ensemble.variants)
    varied = zip(seeds, itertools.cycle(variants), strict=False)
    return [Member(name, seed, variant) for seed, variant in varied for name in names]


def member_config(config: ConfigDict, member: Member) -> ConfigDict:
    """The configuration of one member of an ensemble's."""
    changed = with_variant(config, member.variant)
    changed.model.name, changed.seed = member.model, member.seed
    return changed


def run_ensemble(
    config: ConfigDict,
    workdir: str,
    *,
    split: str = "test",
    side_by_side: int = 0,
    console: RunConsole | None = None,
) -> dict[str, Any]:
    """Trains the members that are not finished yet, and lets all of them vote.

    Takes, returns and raises what `seeds.run_study` does, and spreads members over processes as that does. In
    the configuration ``ensemble`` says who the members are; each gets a run's folder below ``members``. Those
    of one network and variant are trained side by side.
    """
    console = console or RunConsole(enabled=False)
    members = list_members(config)
    unused = set(parse_variants(config.ensemble.variants)) - {member.variant for member in members}
    for variant in sorted(unused):
        console.note(f"no seed is left for the variant {variant or 'as configured'}")
    config, data, measured = prepare_split(config, split, console)
    facts = data.facts() | {"split": split}
    with open_for_all(workdir) as folder, StopRequest() as stop, device_faults("a smaller --side_by_side"):
        open_records(folder, "ensemble", config, facts, free=("seed",))
        run = _EnsembleRun(config, data.train, measured, folder, facts, console)
        run.train_missing(members, side_by_side, stop)
        named = {"members": [member.as_dict() for member in members]}
        on_primary(lambda: write_json_atomic(folder / ENSEMBLE_FILE, named))
        summary = run.vote(members)
        on_primary(lambda: write_json_atomic(folder / SUMMARY_FILE, summary))
    return summary


@dataclass
class _EnsembleRun:
    config: ConfigDict
    train: Dataset
    measured: Dataset
    folder: Path
    facts: dict[str, Any]
    console: RunConsole

    def train_missing(self, members: Sequence[Member], side_by_side: int, stop: StopRequest) -> None:
        """Trains those of one kind together; a group's lines are written once all its folders are."""
        records = on_primary(lambda: read_results(self.folder))
        done = {(record["model"], record["seed"]) for record in records}
        missing = [member for member in members if (member.model, member.seed) not in done]
        data = (self.train.images, self.train.labels)
        groups: list[Group] = []
        for kind in dict.fromkeys(member.kind for member in missing):
            alike = [member for member in missing if member.kind == kind]
            of_all = sum(member.kind == kind for member in members)
            trainer = MemberTrainer(self._experiment(alike[0]))
            size = min(trainer.choose_group_size(side_by_side, of_all, data), len(alike))
            named = " ".join(filter(None, kind))
            self.console.note(f"{named}: to train {len(alike)} of {of_all}, {size} side by side")
            groups += trainer.groups([member.seed for member in alike], size)
        by_name = {(member.model, member.seed): member for member in members}
        for group, trained in train_groups(groups, data, stop, self.console):
            model = group.trainer.experiment.config.model.name
            self._keep([by_name[model, seed] for seed in group.seeds], group.trainer, trained)

    def vote(self, members: Sequence[Member]) -> dict[str, Any]:
        """Reads every member back, so that what is measured is what is on the disk."""
        logits = np.stack([self._logits(member) for member in members])
        probabilities = softmax(logits.astype(np.float64), axis=-1)
        labels = self.measured.labels
        on_primary(lambda: write_votes(self.folder, probabilities, self.measured.sha256))
        vote = describe_vote(probabilities, labels)
        result = evaluate_logits(np.log(np.maximum(soft_vote(probabilities), 1e-300)), labels)
        split = self.facts["split"]
        disputed = count_disputed_errors(self.measured.sha256, result.predicted)
        lines = on_primary(lambda: read_results(self.folder))
        records = {(record["model"], record["seed"]): record for record in lines}
        ours = [records[member.model, member.seed] for member in members]
        return {
            "kind": "ensemble",
            "split": split,
            "test_labels_used_for_choice": False,
            "num_members": len(members),
            "dataset": self.facts["dataset"],
            f"{split}_accuracy": result.accuracy,
            f"{split}_errors": result.errors,
            f"{split}_loss": result.loss,
            **({} if disputed is None else {"disputed_labels": disputed}),
            "per_class_accuracy": result.per_class_accuracy,
            "confusion_matrix": result.confusion_matrix,
            **vote,
            "members": [
                {**member.as_dict(), **figures}
                for member, figures in zip(members, vote["members"], strict=True)  # type: ignore[call-overload]
            ],
            "best": None,
            "final_step": max(record["final_step"] for record in ours),
            "epochs": self.config.num_epochs,
            "seed": self.config.seed,
            "train_seconds": sum(record["train_seconds"] for record in ours),
            "compile_seconds": sum(record["compile_seconds"] for record in ours),
            "num_params": sum(record["num_params"] for record in ours),
            "peak_host_memory_bytes": peak_host_memory_bytes(),
            **provenance(),
        }

    def _experiment(self, member: Member) -> Experiment:
        return member_experiment(member_config(self.config, member), self.train)

    def _keep(self, members: Sequence[Member], trainer: MemberTrainer, trained: Trained) -> None:
        records, count = [], len(members)
        for member, state in zip(members, trained.states, strict=True):
            result = trainer.evaluate(state, self.measured)
            totals = RunTotals(
                train_seconds=trained.train_seconds / count, compile_seconds=trained.compile_seconds / count
            )
            save_member(
                self.folder / MEMBERS_DIR / member.folder,
                self._experiment(member),
                state,
                self.facts,
                totals,
                result if self.facts["split"] == "test" else None,
            )
            records.append(
                {
                    "model": member.model,
                    "seed": member.seed,
                    "split": self.facts["split"],
                    "accuracy": result.accuracy,
                    "errors": result.errors,
                    "final_step": int(state.step),
                    "side_by_side": count,
                    "train_seconds": totals.train_seconds,
                    "compile_seconds": totals.compile_seconds,
                    "num_params": count_parameters(state.params),
                }
            )
            accuracy = f"{self.facts['split']} accuracy {format_percent(result.accuracy)}"
            self.console.print(f"{member.model}, seed {member.seed}: {accuracy}")
        on_primary(lambda: append_results(self.folder, records))

    def _logits(self, member: Member) -> np.ndarray:
        model = load(self.folder / MEMBERS_DIR / member.folder, "latest")
        logits_fn = make_logits_fn(forward_fn(model.module), self.config.eval_batch_size)
        return np.asarray(logits_fn(model.variables, self.measured.images))
