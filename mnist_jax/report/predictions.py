"""A network's predictions on the test set of its run, and on training images measured alike."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int, PyTree

from mnist_jax.config.check import from_dict
from mnist_jax.data import Splits
from mnist_jax.errors import MnistJaxError
from mnist_jax.metrics.voting import describe_probabilities
from mnist_jax.report.record import RunRecord
from mnist_jax.report.robustness import CHANGES, accuracy_by_change, change_all
from mnist_jax.run.datasets import divide, load_recorded
from mnist_jax.run.load import LoadedModel, load, recorded_experiment
from mnist_jax.storage.json_files import replace_file
from mnist_jax.storage.npz_files import load_arrays

PREDICTIONS_FILE = "predictions.npz"
_TRAIN_SAMPLE = 2000  # images: the loss of more is hardly more precise


@dataclass(frozen=True)
class Predictions:
    """A network, and what it says of the complete test set."""

    model: LoadedModel
    splits: Splits
    probabilities: Float[np.ndarray, "examples classes"]  # of the test set
    # Of the training images as they are, evenly spread over all of them: what compares with the test set.
    train_loss: float
    train_accuracy: float
    num_train: int
    # Of the images held out, probabilities and labels; None where there are none.
    validation: tuple[Float[np.ndarray, "held_out classes"], Int[np.ndarray, " held_out"]] | None
    changed_accuracy: Float[np.ndarray, " changes"]  # of `robustness.CHANGES`, in their order
    is_ink: bool  # whether gray pictures are ink on paper

    @property
    def class_names(self) -> tuple[str, ...]:
        """One a class."""
        return self.model.class_names

    @property
    def test_loss(self) -> float:
        """Cross-entropy on the test set, in nats."""
        return float(describe_probabilities(self.probabilities, self.splits.test.labels)["loss"])

    @property
    def test_accuracy(self) -> float:
        """Share of the test set that is right."""
        return float((self.probabilities.argmax(axis=1) == self.splits.test.labels).mean())


def answer_test_set(
    record: RunRecord,
    splits: Splits | None = None,
    variables: dict[str, PyTree] | None = None,
    model: LoadedModel | None = None,
) -> Predictions:
    """Runs the network over the test set of its run, or reads what it said before from ``predictions.npz``.

    Args:
        record: the run.
        splits: its data, or None to load it.
        variables: ``{"params", "batch_stats"}``, or None to restore the latest checkpoint.
        model: the network with its variables, where it is at hand.

    Raises:
        MnistJaxError: there is no checkpoint to restore, or the data cannot be had or is not that of the run.
    """
    if splits is None:
        splits = load_recorded(from_dict(record.config), record.run)
    if model is None:
        model = load(record.folder, "latest") if variables is None else _as_model(record, variables)
    test, path = splits.test, record.folder / PREDICTIONS_FILE
    key = _key(model, splits)
    data = divide(model.config, splits)[1]
    names = ["probabilities", "train", "changed", *["validation"] * (data.validation is not None)]
    kept = _read(path, key, names)
    if kept is None:
        train, held_out = data.train, data.validation
        rows = np.unique(np.linspace(0, train.num_examples - 1, _TRAIN_SAMPLE).round().astype(int))
        shown, changed = change_all(test.images, test.labels)
        asked = [test.images, train.images[rows], changed, *([] if held_out is None else [held_out.images])]
        ends = np.cumsum([len(part) for part in asked])
        # At once: one program for all.
        answers = np.split(model.predict(np.concatenate(asked)), ends[:-1])
        described = describe_probabilities(answers[1], train.labels[rows])
        figures = np.array([described["loss"], described["accuracy"], len(rows)], np.float64)
        kept = {"probabilities": answers[0], "train": figures}
        kept["changed"] = accuracy_by_change(answers[2], shown)
        if held_out is not None:
            kept["validation"] = answers[3]
        _write(path, key, kept)
    loss, accuracy, count = kept["train"]
    return Predictions(
        model=model,
        splits=splits,
        probabilities=kept["probabilities"],
        train_loss=float(loss),
        train_accuracy=float(accuracy),
        num_train=int(count),
        validation=(kept["validation"], data.validation.labels) if data.validation is not None else None,
        changed_accuracy=kept["changed"],
        is_ink=record.is_ink,
    )


def _key(model: LoadedModel, splits: Splits) -> str:
    """A hash of the network's variables, the data and its changes: what the predictions depend on."""
    digest = hashlib.sha256(f"{splits.train.sha256} {splits.test.sha256} {dict(CHANGES)}".encode())
    for leaf in jax.tree.leaves(model.variables):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _read(path: Path, key: str, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    try:
        arrays = load_arrays(path, [*names, "key"])
    except (OSError, ValueError):
        return None
    return arrays if str(arrays.pop("key")) == key else None


def _write(path: Path, key: str, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, key=np.array(key), **arrays)
    try:
        replace_file(path, buffer.getvalue())
    except MnistJaxError:
        return  # only time is lost: the next report asks the network once more


def _as_model(record: RunRecord, variables: dict[str, PyTree]) -> LoadedModel:
    experiment = recorded_experiment(from_dict(record.config), record.run)
    return LoadedModel(
        module=experiment.model,
        # Off the run's devices: in a run of several processes only this one makes a report.
        variables=jax.device_put(jax.device_get(variables), jax.local_devices()[0]),
        config=experiment.config,
        step=int(record.summary.get("final_step", 0)),
        image_shape=experiment.image_shape,
        class_names=experiment.class_names,
        run=record.run,
        layout=experiment.layout,
    )
