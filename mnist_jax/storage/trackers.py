"""Experiment trackers: what Weights & Biases, MLflow, trackio and TensorBoard are told of a run."""

import contextlib
import functools
import importlib.util
import io
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mnist_jax.errors import ConfigError
from mnist_jax.runtime.regular_file import read_json
from mnist_jax.storage.json_files import write_json_atomic

# The module of each tracker's client; TensorBoard's files are written by a library that is always there.
TRACKERS = {"wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio", "tensorboard": "tensorboardX"}
TRACKING_FILE = "tracking.json"
PROJECT = "mnist_jax"

Picture = UInt8[np.ndarray, "height width channels"]


class Tracker:
    """One run in one tracker. Any method may raise what its client raises: `Trackers` answers for that."""

    id = ""  # by which the tracker knows the run again

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Takes numbers named ``split/name``."""

    def picture(self, step: int, name: str, picture: Picture) -> None:
        """Takes a picture of three channels."""

    def close(self, step: int, summary: Mapping[str, float], failed: bool) -> None:
        """Ends the session; ``summary`` is empty where the run goes on another time."""


class Trackers:
    """Tells all trackers of a run; one that fails is left out from then on, with one note."""

    def __init__(self, on_note: Callable[[str], None]):
        """Starts without any.

        Args:
            on_note: receives one line for each tracker that fails.
        """
        self._on_note = on_note
        self._trackers: dict[str, Tracker] = {}

    def open(self, name: str, make: Callable[[], Tracker]) -> None:
        """Adds a tracker."""
        self._try(name, lambda: self._trackers.__setitem__(name, make()))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Tells numbers named ``split/name``, as of ``step`` steps."""
        self._each(lambda tracker: tracker.scalars(step, values))

    def picture(self, step: int, name: str, picture: Picture) -> None:
        """Shows a picture."""
        self._each(lambda tracker: tracker.picture(step, name, picture))

    def close(self, step: int, summary: Mapping[str, Any] | None = None, failed: bool = False) -> None:
        """Ends all sessions; a second call does nothing.

        Args:
            step: steps done.
            summary: of a finished run; its numbers are kept.
            failed: whether the run ends by an error.
        """
        numbers = {k: float(v) for k, v in (summary or {}).items() if type(v) in (int, float)}
        self._each(lambda tracker: tracker.close(step, numbers, failed))
        self._trackers.clear()

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            self._try(name, functools.partial(tell, tracker))

    def _try(self, name: str, work: Callable[[], None]) -> None:
        # Clients print on their own, into the middle of a live bar.
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                work()
        except Exception as error:
            self._trackers.pop(name, None)
            reason = " ".join(str(error).split())[:200]
            self._on_note(f"{name} is told nothing more of this run: {type(error).__name__}: {reason}")


def read_names(tracking: str) -> list[str]:
    """Takes ``config.tracking`` apart.

    Raises:
        ConfigError: a tracker's client is not installed.
    """
    names = [name for name in tracking.split(",") if name]
    for name in names:
        if importlib.util.find_spec(TRACKERS[name]) is None:
            advice = f"pip install 'mnist-jax[{name}]', or leave it out"
            raise ConfigError([f"tracking: {name} is not installed here; {advice}"])
    return names


def open_tracker(
    name: str, folder: Path, config: Mapping[str, Any], write_event: Callable[..., None]
) -> Tracker:
    """Opens one tracker on a run; a run that goes on is the same one there, by ``tracking.json``.

    Args:
        name: one of `TRACKERS`.
        folder: of the run.
        config: fields by dotted name.
        write_event: writes a TensorBoard summary, as ``(step, summary)``.
    """
    if name == "tensorboard":
        return _TensorBoard(config, write_event)
    path = folder / TRACKING_FILE
    known = read_json(path) if path.exists() else {}
    clients: dict[str, Any] = {"wandb": _WandB, "mlflow": _MLflow, "trackio": _Trackio}
    tracker = clients[name](folder, config, known.get(name))
    if tracker.id != known.get(name):
        write_json_atomic(path, known | {name: tracker.id})
    return tracker


class _WandB(Tracker):
    """Modes, project and entity are set with wandb's own variables, such as ``WANDB_MODE=offline``."""

    def __init__(self, folder: Path, config: Mapping[str, Any], known: str | None):
        import wandb

        self.id = known or secrets.token_hex(4)
        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=self.id,
            name=folder.name,
            dir=str(folder),
            config=dict(config),
            resume="allow",
            # The terminal is ours.
            settings=wandb.Settings(silent=True, console="off"),
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, picture: Picture) -> None:
        self._run.log({name: self._wandb.Image(picture)}, step=step)

    def close(self, step: int, summary: Mapping[str, float], failed: bool) -> None:
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=int(failed))


class _MLflow(Tracker):
    """The server or folder is set with MLflow's own variables, such as ``MLFLOW_TRACKING_URI``."""

    def __init__(self, folder: Path, config: Mapping[str, Any], known: str | None):
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        if not {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"} & set(os.environ):
            mlflow.set_experiment(PROJECT)
        self._mlflow = mlflow
        run = mlflow.start_run(run_id=known) if known else mlflow.start_run(run_name=folder.name)
        self.id = run.info.run_id
        if not known:
            mlflow.log_params({name: value for name, value in config.items() if value != ""})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def picture(self, step: int, name: str, picture: Picture) -> None:
        self._mlflow.log_image(picture, f"{name}.png")

    def close(self, step: int, summary: Mapping[str, float], failed: bool) -> None:
        if summary:
            self._mlflow.log_metrics(dict(summary), step=step)
        self._mlflow.end_run("FAILED" if failed else "FINISHED" if summary else "KILLED")


class _Trackio(Tracker):
    """Where it keeps runs is set with trackio's own variables, such as ``TRACKIO_DIR``."""

    def __init__(self, folder: Path, config: Mapping[str, Any], known: str | None):
        import trackio

        # Its runs are known by their names.
        self.id = known or f"{folder.name}-{secrets.token_hex(3)}"
        self._trackio = trackio
        trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=self.id,
            config=dict(config),
            resume="allow",
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values), step=step)

    def picture(self, step: int, name: str, picture: Picture) -> None:
        self._trackio.log({name: self._trackio.Image(picture)}, step=step)

    def close(self, step: int, summary: Mapping[str, float], failed: bool) -> None:
        if summary:
            self._trackio.log({f"summary/{name}": value for name, value in summary.items()}, step=step)
        self._trackio.finish()


class _TensorBoard(Tracker):
    """Pictures and hyperparameters, in the files that `MetricsWriter` fills with scalars anyway."""

    def __init__(self, config: Mapping[str, Any], write_event: Callable[..., None]):
        self._config, self._write_event = config, write_event

    def picture(self, step: int, name: str, picture: Picture) -> None:
        from tensorboardX import summary as make

        self._write_event(step, make.image(name, picture, dataformats="HWC"))

    def close(self, step: int, summary: Mapping[str, float], failed: bool) -> None:
        from tensorboardX import summary as make

        metrics = {f"test/{k}": summary[f"test_{k}"] for k in ("accuracy", "loss") if f"test_{k}" in summary}
        if metrics:
            # Tuples are no hyperparameters to it.
            fields = {k: str(v) if isinstance(v, tuple) else v for k, v in self._config.items()}
            first, *others = make.hparams(fields, metrics)
            for other in others:
                first.MergeFrom(other)
            self._write_event(step, first)


def picture_grid(
    images: UInt8[np.ndarray, "count image_height image_width image_channels"], columns: int = 8
) -> Picture:
    """Returns images side by side, a dark pixel between them, in three channels."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    grid = np.zeros((rows * (height + 1), columns * (width + 1), 3), np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        grid[top : top + height, left : left + width] = image[..., :3] if channels >= 3 else image[..., :1]
    return grid
