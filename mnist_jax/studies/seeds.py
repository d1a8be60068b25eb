"""Many seeds of one configuration: trained in groups, each finished group kept at once."""

import copy
import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mnist_jax.config.check import check
from mnist_jax.data import Dataset, Splits
from mnist_jax.errors import ConfigError, RunError
from mnist_jax.metrics.statistics import Summary, summarize
from mnist_jax.run.datasets import (
    Folds,
    RunData,
    choose_validation_examples,
    divide,
    divide_into_folds,
    load_configured,
    used_images,
)
from mnist_jax.runtime.collectives import check_equal, on_primary
from mnist_jax.runtime.devices import device_faults
from mnist_jax.runtime.environment import describe_device, provenance
from mnist_jax.runtime.signals import StopRequest
from mnist_jax.storage.json_files import SUMMARY_FILE, write_json_atomic
from mnist_jax.storage.results import append_results, read_results
from mnist_jax.studies.comparison import noted_comparisons
from mnist_jax.studies.folder import open_for_all, open_records
from mnist_jax.studies.trainer import MemberTrainer, Trained, member_experiment, train_groups
from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.format import format_duration, format_percent
from mnist_jax.training.logits import headline

# As many as the last of five folds of MNIST's 60,000 would be too many to give up: a twelfth.
_HELD_OUT_SHARE = 12
# Of cross-validation.
NUM_FOLDS = 5


def prepare_split(
    config: ConfigDict, split: str, console: RunConsole | None = None
) -> tuple[ConfigDict, RunData, Dataset]:
    """Loads the data, says what was done to it, and decides what to train on and what to measure on.

    On ``validation``, those are the images that the configuration holds out of train, or a twelfth (5,000 of
    MNIST's) where it holds out none.

    Returns:
        the checked configuration with the number of images really held out, the data, and the images to
        measure on.

    Raises:
        ConfigError: the configuration is wrong, by itself or for this data.
        DataError: the data is missing or damaged.
    """
    config = _check(config)
    if split not in ("validation", "test"):
        raise ConfigError([f"split: got {split!r}; expected 'validation' or 'test'"])
    splits = _load(config)
    if split == "validation" and not config.data.validation_examples:
        config = copy.deepcopy(config)
        wanted = max(1, used_images(config, splits).num_examples // _HELD_OUT_SHARE)
        config.data.validation_examples = choose_validation_examples(config, splits, wanted)
    config, data = divide(config, splits)
    measured = data.test if split == "test" else data.validation
    if measured is None:
        raise ConfigError(["data.validation_examples: expected images held out for --split validation"])
    _say(splits, data.remarks, console)
    return config, data, measured


def prepare_folds(config: ConfigDict, console: RunConsole | None = None) -> tuple[ConfigDict, Folds]:
    """Loads the data, says what was done to it, and divides the training images into five folds.

    Raises:
        ConfigError: as `prepare_split`.
        DataError: as `prepare_split`.
    """
    config = _check(config)
    splits = _load(config)
    config, folds = divide_into_folds(config, splits, NUM_FOLDS)
    _say(splits, [*splits.remarks, *folds.chosen], console)
    return config, folds


def _check(config: ConfigDict) -> ConfigDict:
    config = check(config)
    if config.early_stopping.patience:
        raise ConfigError(["early_stopping.patience: members side by side all end together; expected 0 here"])
    if config.init.run:
        raise ConfigError(
            ["init.run: a study, an ensemble or a student starts from scratch; expected nothing here"]
        )
    return config


def _load(config: ConfigDict) -> Splits:
    splits = load_configured(config)
    check_equal(splits.train.sha256 + splits.test.sha256, "the images")
    return splits


def _say(splits: Splits, remarks: Sequence[str], console: RunConsole | None) -> None:
    if console is not None:
        if splits.notice:
            console.notice(splits.notice)
        for remark in remarks:
            console.note(remark)


class _Part(NamedTuple):
    """What the seeds of a study train on and are measured on: one of several folds, or all there is."""

    train: Dataset
    measured: Dataset
    fold: dict[str, int]  # ``{"fold": 1}``, or nothing


def run_study(
    config: ConfigDict,
    seeds: Sequence[int],
    workdir: str,
    *,
    split: str = "validation",
    side_by_side: int = 0,
    console: RunConsole | None = None,
    stop: StopRequest | None = None,
) -> dict[str, Any]:
    """Trains one configuration with many seeds and sums up what they reach at their last step.

    Seeds whose results are in the folder are not trained again; groups are the same however often the study
    was stopped, so nothing in ``results.jsonl`` depends on that but the times. Where there are several
    processes (`distributed.join`), all of them call this, each trains a part of the groups, and process 0
    writes.

    Args:
        config: any configuration; its own seed is not used.
        seeds: one a member.
        workdir: the folder of the study.
        split: ``validation`` while choosing (the test set is not looked at), ``cv`` for five folds of the
            training images, each held out in its turn (nor is it here), or ``test``.
        side_by_side: members trained at once; 0 = as many as the device has room for.
        console: the terminal output.
        stop: how signals are answered; by default as a command does it.

    Returns:
        what ``summary.json`` of the folder holds.

    Raises:
        ConfigError: the configuration is wrong, or the folder holds another study.
        DataError: the data is missing or damaged.
        RunError: the folder, the device or the numbers are at fault.
        Stopped: by a signal; what is finished is kept.
    """
    console = console or RunConsole(enabled=False)
    if split == "cv":
        config, folds = prepare_folds(config, console)
        facts, parts = folds.facts(), _parts_of(folds)
    else:
        config, data, measured = prepare_split(config, split, console)
        facts = data.facts() | {"measured_sha256": measured.sha256}
        parts = iter([_Part(data.train, measured, {})])
    facts |= {"split": split}
    stop = stop or StopRequest()
    with open_for_all(workdir) as folder, stop, device_faults("a smaller --side_by_side"):
        open_records(folder, "study", config, facts, free=("seed",))
        records = on_primary(lambda: read_results(folder))
        done = {(record.get("fold"), record["seed"]) for record in records}
        trainer: MemberTrainer | None = None
        for part in parts:
            fold = part.fold.get("fold")
            missing = [seed for seed in seeds if (fold, seed) not in done]
            if not missing:
                continue
            if trainer is None or trainer.experiment.num_train != part.train.num_examples:
                # Folds of one size share what is compiled.
                trainer = MemberTrainer(member_experiment(config, part.train))
            examples = (part.train.images, part.train.labels)
            size = min(trainer.choose_group_size(side_by_side, len(seeds), examples), len(missing))
            where = f"measured on {split}" if fold is None else f"measured on fold {fold} of {NUM_FOLDS}"
            console.note(f"{len(missing)} of {len(seeds)} seeds to train, {size} side by side, {where}")
            for _, trained in train_groups(trainer.groups(missing, size), examples, stop, console):
                new = _measure(trainer, trained, part, split)
                on_primary(functools.partial(append_results, folder, new))
                records += new
                for record in new:
                    console.print(_line(record))
        wanted = set(seeds)
        chosen = [record for record in records if record["seed"] in wanted]
        noted = on_primary(lambda: noted_comparisons(folder))
        summary = _summary_of_study(config, facts, chosen) | noted
        on_primary(lambda: write_json_atomic(folder / SUMMARY_FILE, summary))
    return summary


def _parts_of(folds: Folds) -> Iterator[_Part]:
    """The folds, from 1, each a copy of the images that is made when it is needed."""
    for fold in range(folds.num_folds):
        data = folds.hold_out(fold)
        assert data.validation is not None
        yield _Part(data.train, data.validation, {"fold": fold + 1})


def _measure(trainer: MemberTrainer, trained: Trained, part: _Part, split: str) -> list[dict[str, Any]]:
    records = []
    count = len(trained.seeds)
    for seed, state, losses in zip(trained.seeds, trained.states, trained.epoch_losses, strict=True):
        result = trainer.evaluate(state, part.measured)
        if not result.loss < float("inf"):
            raise RunError(
                f"the loss of seed {seed} on {split} is not finite; try a lower optim.learning_rate"
            )
        records.append(
            {
                "seed": seed,
                "split": split,
                **part.fold,
                **headline(result),
                "train_losses": losses.tolist(),
                "final_step": int(state.step),
                "side_by_side": count,
                "train_seconds": trained.train_seconds / count,
                "compile_seconds": trained.compile_seconds / count,
                "device": describe_device()["device"],
            }
        )
    return records


def _line(record: dict[str, Any]) -> str:
    fold = f"fold {record['fold']}, " if "fold" in record else ""
    return (
        f"{fold}seed {record['seed']}: {record['split']} accuracy {format_percent(record['accuracy'])}, "
        f"{record['errors']} errors, {format_duration(record['train_seconds'])} a member"
    )


def _summary_of_study(config: ConfigDict, facts: dict[str, Any], records: list[dict]) -> dict[str, Any]:
    split = facts["split"]
    return {
        "kind": "study",
        "split": split,
        "seeds": list(dict.fromkeys(record["seed"] for record in records)),
        "statistics": {
            name: asdict(summarize([record[name] for record in records]))
            for name in ("accuracy", "errors", "loss")
        },
        **_summary_of_folds(records),
        "epochs": config.num_epochs,
        "final_step": records[0]["final_step"],
        "train_seconds_a_member": sum(record["train_seconds"] for record in records) / len(records),
        "dataset": facts["dataset"],
        **provenance(),
    }


def _summary_of_folds(records: Sequence[dict]) -> dict[str, Any]:
    """What the seeds reached on each fold; nothing where there are none."""
    by_fold: dict[int, list[dict]] = {}
    for record in records:
        if "fold" in record:
            by_fold.setdefault(record["fold"], []).append(record)
    if not by_fold:
        return {}
    return {
        "folds": [
            {
                "fold": fold,
                "num_examples": by_fold[fold][0]["num_examples"],
                "accuracy": asdict(summarize([record["accuracy"] for record in by_fold[fold]])),
            }
            for fold in sorted(by_fold)
        ]
    }


def describe_statistics(accuracy: Summary) -> str:
    """The one line to quote: mean ± SD, n, the rest in brackets; accuracies in percent."""

    def percent(value: float | None) -> str:
        return "?" if value is None else f"{100 * value:.3f}"

    return (
        f"{percent(accuracy.mean)} ± {percent(accuracy.sd)} % (n={accuracy.n}; SE {percent(accuracy.se)}, "
        f"95% {percent(accuracy.low)} to {percent(accuracy.high)}, "
        f"min {percent(accuracy.min)}, max {percent(accuracy.max)})"
    )
