"""Fixed members, networks times seeds, trained side by side and put to the vote."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy.special import softmax

from mnist_jax.config.seeds import parse_seeds
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
from mnist_jax.studies.trainer import MemberTrainer, Trained, member_experiment
from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.format import format_percent
from mnist_jax.training.logits import evaluate_logits, make_logits_fn


@dataclass(frozen=True)
class Member:
    """One member: which network, with which seed."""

    model: str
    seed: int

    @property
    def folder(self) -> str:
        """Name of its folder below ``members``."""
        return f"{self.model}-{self.seed}"

    def as_dict(self) -> dict[str, Any]:
        """Returns ``{"model", "seed", "folder"}``."""
        return {**asdict(self), "folder": self.folder}


def list_members(config: ConfigDict) -> list[Member]:
    """The members that a configuration names: each network with each seed.

    The seeds change slowest, so that neighboring members are of different networks.

    Raises:
        ConfigError: a name or a list of seeds is wrong.
    """
    names = [name for name in config.ensemble.models.split(",") if name] or [config.model.name]
    unknown = [name for name in names if name not in MODELS]
    if unknown or len(set(names)) < len(names):
        text = f"{unknown[0]!r} is no network" if unknown else "a network is named twice"
        raise ConfigError([f"ensemble.models: {text}; expected some of {', '.join(MODELS)}, each once"])
    return [Member(name, seed) for seed in parse_seeds(config.ensemble.seeds) for name in names]


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
    of one network are trained side by side.
    """
    console = console or RunConsole(enabled=False)
    members = list_members(config)
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
        """Trains network by network; a group's lines are written once all its folders are."""
        records = on_primary(lambda: read_results(self.folder))
        done = {(record["model"], record["seed"]) for record in records}
        missing = [member for member in members if (member.model, member.seed) not in done]
        for model in dict.fromkeys(member.model for member in missing):
            seeds = [member.seed for member in missing if member.model == model]
            of_all = sum(member.model == model for member in members)
            trainer = MemberTrainer(self._experiment(model, seeds[0]))
            data = (self.train.images, self.train.labels)
            size = min(trainer.choose_group_size(side_by_side, of_all, data), len(seeds))
            self.console.note(f"{model}: {len(seeds)} members to train, {size} side by side")
            for trained in trainer.train_groups(seeds, size, data, stop, self.console):
                self._keep(model, trainer, trained)

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

    def _experiment(self, model: str, seed: int) -> Experiment:
        config = copy.deepcopy(self.config)
        config.model.name, config.seed = model, seed
        return member_experiment(config, self.train)

    def _keep(self, model: str, trainer: MemberTrainer, trained: Trained) -> None:
        records, count = [], len(trained.seeds)
        for seed, state in zip(trained.seeds, trained.states, strict=True):
            result = trainer.evaluate(state, self.measured)
            totals = RunTotals(
                train_seconds=trained.train_seconds / count, compile_seconds=trained.compile_seconds / count
            )
            save_member(
                self.folder / MEMBERS_DIR / Member(model, seed).folder,
                self._experiment(model, seed),
                state,
                self.facts,
                totals,
                result if self.facts["split"] == "test" else None,
            )
            records.append(
                {
                    "model": model,
                    "seed": seed,
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
            self.console.print(
                f"{model}, seed {seed}: {self.facts['split']} accuracy {format_percent(result.accuracy)}"
            )
        on_primary(lambda: append_results(self.folder, records))

    def _logits(self, member: Member) -> np.ndarray:
        model = load(self.folder / MEMBERS_DIR / member.folder, "latest")
        logits_fn = make_logits_fn(forward_fn(model.module), self.config.eval_batch_size)
        return np.asarray(logits_fn(model.variables, self.measured.images))
