"""Many seeds of one configuration: trained in groups, each finished group kept at once."""

import copy
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ml_collections import ConfigDict

from mnist_jax.config.check import check
from mnist_jax.data import Dataset
from mnist_jax.errors import ConfigError, RunError
from mnist_jax.metrics.statistics import Summary, summarize
from mnist_jax.run.datasets import RunData, divide, load_configured
from mnist_jax.runtime.devices import device_faults
from mnist_jax.runtime.distributed import refuse_several
from mnist_jax.runtime.environment import describe_device, provenance
from mnist_jax.runtime.signals import StopRequest
from mnist_jax.storage.json_files import SUMMARY_FILE, write_json_atomic
from mnist_jax.storage.results import append_results, read_results
from mnist_jax.storage.workdir import open_workdir
from mnist_jax.studies.comparison import noted_comparisons
from mnist_jax.studies.folder import open_records
from mnist_jax.studies.trainer import MemberTrainer, Trained, member_experiment
from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.format import format_duration, format_percent
from mnist_jax.training.logits import headline

# As many as the last of five folds of MNIST's 60,000 would be too many to give up: a twelfth.
_HELD_OUT_SHARE = 12


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
    config = check(config)
    if split not in ("validation", "test"):
        raise ConfigError([f"split: got {split!r}; expected 'validation' or 'test'"])
    if config.early_stopping.patience:
        raise ConfigError(["early_stopping.patience: members side by side all end together; expected 0 here"])
    if config.init.run:
        raise ConfigError(
            ["init.run: a study, an ensemble or a student starts from scratch; expected nothing here"]
        )
    refuse_several("a study, an ensemble or a student", **config.distributed)
    splits = load_configured(config)
    if split == "validation" and not config.data.validation_examples:
        config = copy.deepcopy(config)
        available = config.data.train_examples or splits.train.num_examples
        config.data.validation_examples = max(1, available // _HELD_OUT_SHARE)
    config, data = divide(config, splits)
    measured = data.test if split == "test" else data.validation
    if measured is None:
        raise ConfigError(["data.validation_examples: expected images held out for --split validation"])
    if console is not None:
        if data.splits.notice:
            console.notice(data.splits.notice)
        for remark in data.remarks:
            console.note(remark)
    return config, data, measured


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
    was stopped, so nothing in ``results.jsonl`` depends on that but the times.

    Args:
        config: any configuration; its own seed is not used.
        seeds: one a member.
        workdir: the folder of the study.
        split: ``validation`` while choosing (the test set is not looked at), or ``test``.
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
    config, data, measured = prepare_split(config, split, console)
    experiment = member_experiment(config, data.train)
    facts = data.facts() | {"split": split, "measured_sha256": measured.sha256}
    stop = stop or StopRequest()
    with open_workdir(workdir) as folder, stop, device_faults("a smaller --side_by_side"):
        open_records(folder, "study", config, facts, free=("seed",))
        records = read_results(folder)
        done = {record["seed"] for record in records}
        missing = [seed for seed in seeds if seed not in done]
        if missing:
            trainer, examples = MemberTrainer(experiment), (data.train.images, data.train.labels)
            size = trainer.choose_group_size(side_by_side, len(missing), examples)
            console.note(
                f"{len(missing)} of {len(seeds)} seeds to train, {size} side by side, measured on {split}"
            )
            for trained in trainer.train_groups(missing, size, examples, stop, console):
                new = _measure(trainer, trained, measured, split)
                append_results(folder, new)
                records += new
                for record in new:
                    console.print(_line(record))
        wanted = set(seeds)
        chosen = [record for record in records if record["seed"] in wanted]
        summary = _summary_of_study(config, facts, chosen) | noted_comparisons(folder)
        write_json_atomic(folder / SUMMARY_FILE, summary)
    return summary


def _measure(trainer: MemberTrainer, trained: Trained, measured: Dataset, split: str) -> list[dict[str, Any]]:
    records = []
    count = len(trained.seeds)
    for seed, state, losses in zip(trained.seeds, trained.states, trained.epoch_losses, strict=True):
        result = trainer.evaluate(state, measured)
        if not result.loss < float("inf"):
            raise RunError(
                f"the loss of seed {seed} on {split} is not finite; try a lower optim.learning_rate"
            )
        records.append(
            {
                "seed": seed,
                "split": split,
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
    return (
        f"seed {record['seed']}: {record['split']} accuracy {format_percent(record['accuracy'])}, "
        f"{record['errors']} errors, {format_duration(record['train_seconds'])} a member"
    )


def _summary_of_study(config: ConfigDict, facts: dict[str, Any], records: list[dict]) -> dict[str, Any]:
    split = facts["split"]
    return {
        "kind": "study",
        "split": split,
        "seeds": [record["seed"] for record in records],
        "statistics": {
            name: asdict(summarize([record[name] for record in records]))
            for name in ("accuracy", "errors", "loss")
        },
        "epochs": config.num_epochs,
        "final_step": records[0]["final_step"],
        "train_seconds_a_member": sum(record["train_seconds"] for record in records) / len(records),
        "dataset": facts["dataset"],
        **provenance(),
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
