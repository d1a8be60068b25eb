"""The data that a configuration names, loaded, divided and described."""

import copy
import functools
import hashlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mnist_jax.config.automatic import resolve
from mnist_jax.config.check import check_against_data
from mnist_jax.data import Dataset, Splits, load_splits
from mnist_jax.data.load import reads_idx_files
from mnist_jax.errors import ConfigError, DataError
from mnist_jax.storage.json_files import replace_file

TEST_ITEMS_FILE = "test_items.txt"

# What is said of validation images, by ``data.validation``.
_HELD_OUT = {
    "writers": "by writers none of whom wrote training images",
    "groups": "of groups that have no training images",
    "classes": "drawn over all classes",
    "last": "the last of the training images",
}
# What is said of folds.
_FOLDS = {
    "writers": "by writers, each of whom is in one fold",
    "groups": "of groups, each of which is in one fold",
    "classes": "drawn over all classes",
}


@dataclass(frozen=True)
class RunData:
    """What a run trains on, chooses by and is measured on."""

    splits: Splits  # the data set as loaded
    train: Dataset  # the images to train on
    validation: Dataset | None  # training images held out, or None
    chosen: tuple[str, ...] = ()  # lines on what was held out and what the configuration left open

    @property
    def eval_split(self) -> str:
        """The split that each epoch is evaluated on."""
        return "test" if self.validation is None else "validation"

    @property
    def test(self) -> Dataset:
        """The test set."""
        return self.splits.test

    @property
    def remarks(self) -> list[str]:
        """How the data was read, prepared and divided, and what was chosen to suit it."""
        return [*self.splits.remarks, *self.chosen]

    def facts(self) -> dict[str, Any]:
        """Returns what ``config.json`` keeps of the data, under ``run``.

        The sizes are those of this run, the hashes those of the complete splits.
        """
        return {
            "dataset": {
                "name": self.splits.train.name,
                "source": self.splits.train.source,
                "num_train": self.train.num_examples,
                "num_validation": 0 if self.validation is None else self.validation.num_examples,
                "num_test": self.test.num_examples,
                "sha256": self.splits.train.sha256,
                "test_sha256": self.test.sha256,
                "is_fallback": self.splits.is_fallback,
                "notice": self.splits.notice,
                "remarks": self.remarks,
                "preparation": self.splits.preparation.as_dict(),
            },
            "image_shape": list(self.train.image_shape),
            "class_names": list(self.train.class_names),
        }


def write_test_items(workdir: Path, splits: Splits) -> None:
    """Lists in ``test_items.txt`` what a test set that was drawn is made of: a file or a row a line.

    Raises:
        RunError: the file cannot be written.
    """
    if splits.test_items:
        lines = "".join(f"{item}\n" for item in splits.test_items)
        replace_file(workdir / TEST_ITEMS_FILE, lines.encode(errors="surrogateescape"))


def load_configured(config: ConfigDict, data_dir: str = "") -> Splits:
    """Loads the data set that a checked configuration names, from ``data_dir`` where one is given.

    Raises:
        DataError: the data is missing or damaged.
    """
    data = config.data
    return load_splits(
        data.name,
        data_dir=data_dir or data.dir,
        fallback=data.fallback,
        image_size=data.image_size,
        group=data.group,
    )


def begin_to_load(config: ConfigDict) -> Callable[[], Splits]:
    """Begins to load the data set that a checked configuration names beside the imports that follow.

    Only where that may be done beside them, see `data.load.reads_idx_files`.

    Returns:
        what waits for it, or else loads it, and gives or raises what `load_configured` does.
    """
    if not reads_idx_files(config.data.name, config.data.dir):
        return functools.partial(load_configured, config)
    # NumPy imports this module when it is first needed, which both threads would do.
    import numpy.ma  # noqa: F401

    loaded: Future[Splits] = Future()

    def load() -> None:
        try:
            loaded.set_result(load_configured(config))
        except BaseException as error:
            loaded.set_exception(error)

    # Whoever ends before its end does not wait for it.
    threading.Thread(target=load, name="load_data", daemon=True).start()
    return loaded.result


def load_recorded(config: ConfigDict, run: Mapping[str, Any], data_dir: str = "") -> Splits:
    """Loads the data of an earlier run, and makes sure that it is the same; ``data_dir``: where it is now.

    Raises:
        DataError: the data is missing or damaged, or the test set is another one.
    """
    splits = load_configured(config, data_dir)
    expected = str(run.get("dataset", {}).get("test_sha256"))
    if splits.test.sha256 != expected:
        raise DataError(
            f"the test set from {splits.test.source} is not that of the run (sha256 "
            f"{splits.test.sha256[:12]}, expected {expected[:12]}); give --data_dir"
        )
    return splits


def load_run_data(
    config: ConfigDict, num_devices: int = 1, loading: Callable[[], Splits] | None = None
) -> tuple[ConfigDict, RunData]:
    """Loads and divides the data of a checked configuration.

    Args:
        config: with all fields.
        num_devices: that the data is divided over.
        loading: waits for the data, where loading it has begun, see `begin_to_load`.

    Returns:
        the configuration with what it leaves open chosen to suit the data, and the data.

    Raises:
        ConfigError: the configuration does not fit the data.
        DataError: the data is missing or damaged.
    """
    splits = loading() if loading else load_configured(config)
    return divide(config, splits, num_devices)


def divide(config: ConfigDict, splits: Splits, num_devices: int = 1) -> tuple[ConfigDict, RunData]:
    """Takes the first ``data.train_examples`` (0 = all) and holds out ``data.validation_examples`` of them.

    Returns:
        as `load_run_data`.

    Raises:
        ConfigError: the configuration does not fit the data.
    """
    config, remarks = _take_what_there_is(config, splits)
    used, num_validation = used_images(config, splits), config.data.validation_examples
    config, chosen = resolve(config, max(used.num_examples - num_validation, 1), num_devices)
    chosen = [*remarks, *chosen]
    check_against_data(config, splits.train.num_examples)
    if not num_validation:
        return config, RunData(splits, used, None, tuple(chosen))
    how = config.data.validation
    if how == "auto":
        # Groups that a person named are kept apart, or it is said why not.
        how = "writers" if config.data.group or used.has_groups_of(num_validation) else "classes"
    train, validation = used.hold_out(num_validation, how)
    chosen = [f"the {num_validation:,} validation images are {_HELD_OUT[_kind(config, how)]}", *chosen]
    return config, RunData(splits, train, validation, tuple(chosen))


def _take_what_there_is(config: ConfigDict, splits: Splits) -> tuple[ConfigDict, list[str]]:
    """Asks for all training images where there are fewer than are asked for, and says so in a line."""
    most, available = config.data.train_examples, splits.train.num_examples
    if most <= available:
        return config, []
    config = copy.deepcopy(config)
    config.data.train_examples = 0
    return config, [f"there are {available:,} training images, fewer than data.train_examples = {most:,}"]


def used_images(config: ConfigDict, splits: Splits) -> Dataset:
    """The first ``data.train_examples`` training images; all where that is 0, or more than there are."""
    most = config.data.train_examples
    return splits.train.take(most) if 0 < most < splits.train.num_examples else splits.train


def choose_validation_examples(config: ConfigDict, splits: Splits, wanted: int) -> int:
    """Returns how many training images to hold out: so many, or where groups are kept apart the nearest."""
    if not config.data.group or config.data.validation not in ("auto", "writers"):
        return wanted
    used = used_images(config, splits)
    nearest = sorted(range(1, used.num_examples), key=lambda number: abs(number - wanted))
    return next((number for number in nearest if used.has_groups_of(number)), wanted)


def _kind(config: ConfigDict, how: str) -> str:
    return "groups" if how == "writers" and config.data.group else how


@dataclass(frozen=True)
class Folds:
    """Training images divided for cross-validation; the test set has no part in it."""

    splits: Splits  # the data set as loaded
    used: Dataset  # the training images that are divided
    fold_of: np.ndarray  # int64 ``[N]``, from 0
    num_folds: int
    chosen: tuple[str, ...]  # lines on how they were divided and what the configuration left open

    def hold_out(self, fold: int) -> RunData:
        """Returns what to train on and, as validation, a fold, from 0."""
        train, validation = self.used.split_off(self.fold_of == fold)
        return RunData(self.splits, train, validation, self.chosen)

    def facts(self) -> dict[str, Any]:
        """Returns what ``config.json`` keeps: facts, the number of folds, a hash of images and folds."""
        digest = hashlib.sha256(f"{self.used.sha256} {self.num_folds}\n".encode())
        digest.update(self.fold_of.astype("<i8").data)
        facts = RunData(self.splits, self.used, None, self.chosen).facts()
        return facts | {"num_folds": self.num_folds, "measured_sha256": digest.hexdigest()}


def divide_into_folds(config: ConfigDict, splits: Splits, num_folds: int) -> tuple[ConfigDict, Folds]:
    """Takes the first ``data.train_examples`` (0 = all) and divides them for cross-validation.

    Returns:
        the configuration with what it leaves open chosen to suit the data, and the folds.

    Raises:
        ConfigError: the configuration does not fit the data.
        DataError: the data cannot be divided in that way.
    """
    config, remarks = _take_what_there_is(config, splits)
    how, used = config.data.validation, used_images(config, splits)
    if config.data.validation_examples:
        held_out = config.data.validation_examples
        problem = f"data.validation_examples: each fold is held out in its turn; expected 0, got {held_out}"
        raise ConfigError([problem])
    if how == "last":
        raise ConfigError(["data.validation: expected auto, writers or classes for folds, got 'last'"])
    check_against_data(resolve(config, used.num_examples)[0], splits.train.num_examples)
    if how == "auto":
        how = "classes" if used.groups is None else "writers"
    fold_of = used.assign_folds(num_folds, how)
    largest = int(np.bincount(fold_of).max())
    config, chosen = resolve(config, max(used.num_examples - largest, 1))
    of_fold = copy.deepcopy(config)
    of_fold.data.validation_examples = largest
    check_against_data(of_fold, splits.train.num_examples)
    chosen = [f"the {num_folds} folds are {_FOLDS[_kind(config, how)]}", *remarks, *chosen]
    return config, Folds(splits, used, fold_of, num_folds, tuple(chosen))
