"""A trained run as an object to use from Python."""

import functools
import math
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree, Shaped
from ml_collections import ConfigDict

from mnist_jax.checkpoints.folder import find_checkpoints
from mnist_jax.checkpoints.manager import Checkpoints
from mnist_jax.config.check import from_dict
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.errors import CheckpointError, RunError
from mnist_jax.models.forward import forward_fn
from mnist_jax.models.own import is_own
from mnist_jax.models.registry import with_plain_convolutions
from mnist_jax.models.soft_vote import join_variables, make_soft_vote
from mnist_jax.run.experiment import Experiment, build_experiment
from mnist_jax.runtime.devices import Layout, make_layout
from mnist_jax.runtime.regular_file import read_json
from mnist_jax.storage.field_types import require_run_facts
from mnist_jax.storage.json_files import read_config
from mnist_jax.training.evaluation import images_at_a_time
from mnist_jax.training.optimizer import averages_weights
from mnist_jax.training.step import preprocess

_PREDICT_BATCH = 512
# Batches that a device is given before the first is waited for, so that it need not wait for the next.
_MOST_UNDER_WAY = 4
# Up to here the time and memory that a CPU takes to load a faster program are more than it saves.
_FEW_IMAGES = 2000
ENSEMBLE_FILE = "ensemble.json"
MEMBERS_DIR = "members"


@dataclass(frozen=True)
class LoadedModel:
    """A network with the variables of a checkpoint.

    Attributes:
        module: the linen module; ``module.apply(variables, images)`` gives logits for float32 images in [0,
            1].
        variables: ``{"params", "batch_stats"}``: the moving average where the recipe evaluates with it.
        config: the configuration of the run.
        step: training steps done.
        image_shape: ``(height, width, channels)``.
        class_names: one a class.
        run: what ``config.json`` tells of the run, its data among it.
        layout: the devices the variables are on.
    """

    module: nn.Module
    variables: dict[str, PyTree]
    config: ConfigDict
    step: int
    image_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    run: dict[str, Any]
    layout: Layout

    @property
    def preparation(self) -> Preparation:
        """What was done to the pictures it was trained on, and is to be done to any other."""
        return Preparation.of_run({"image_shape": self.image_shape, **self.run})

    def predict(self, images: Shaped[Array | np.ndarray, "..."]) -> Float[np.ndarray, "... classes"]:
        """Returns the probability of each class.

        Args:
            images: uint8 in 0 to 255 or floating point in [0, 1], ``[N, H, W, C]`` for any N; a missing
                channel axis of gray images and a missing batch axis are added.

        Returns:
            float32 ``[N, classes]``, or ``[classes]`` for a single image.

        Raises:
            ValueError: for images of another shape or dtype than the network was made for, and for numbers
                that are no tones in [0, 1].
        """
        images = np.asarray(images)
        if images.shape[-2:] == self.image_shape[:2] and self.image_shape[2] == 1:
            images = images[..., None]
        single = images.ndim == 3
        if single:
            images = images[None]
        if images.shape[1:] != self.image_shape or not (
            images.dtype == np.uint8 or np.issubdtype(images.dtype, np.floating)
        ):
            raise ValueError(
                f"got images of shape {images.shape} and dtype {images.dtype}; expected uint8 in 0 to "
                "255 or floating point in "
                f"[0, 1], of shape [N, {', '.join(map(str, self.image_shape))}]"
            )
        if images.dtype != np.uint8 and images.size:
            lowest, highest = float(images.min()), float(images.max())
            # Written so that it also refuses what is not a number; resizing may round a little beyond 1.
            if not -1e-6 <= lowest <= highest <= 1 + 1e-6:
                raise ValueError(
                    f"got numbers from {lowest:g} to {highest:g}; expected floating point in [0, 1]: divide "
                    "tones from 0 to 255 by 255, or give them as uint8"
                )
        most = images_at_a_time(_PREDICT_BATCH, (_PREDICT_BATCH, *self.image_shape))
        # A few sizes only, so that few programs are compiled whatever the number of images.
        size = min(most, 2 ** math.ceil(math.log2(max(1, len(images)))))
        module = with_plain_convolutions(self.module) if len(images) <= _FEW_IMAGES else self.module

        def answers() -> Iterator[Array]:
            for start in range(0, len(images), most):
                chunk = images[start : start + most]
                padded = np.zeros((size, *self.image_shape), chunk.dtype)
                padded[: len(chunk)] = chunk
                yield _probabilities(module, self.variables, padded)

        none = np.empty((0, len(self.class_names)), np.float32)
        # Only the last batch is padded.
        probabilities = np.concatenate([none, *map(np.asarray, _begun_ahead(answers()))])[: len(images)]
        return probabilities[0] if single else probabilities


def _begun_ahead(answers: Iterator[Array]) -> Iterator[Array]:
    """Gives answers of a device in their order, each once the next few have been asked for."""
    under_way: deque[Array] = deque()
    for answer in answers:
        under_way.append(answer)
        if len(under_way) == _MOST_UNDER_WAY:
            yield under_way.popleft()
    yield from under_way


@functools.partial(jax.jit, static_argnums=0)
def _probabilities(module: nn.Module, variables: dict[str, PyTree], images: Array) -> Array:
    logits: Any = forward_fn(module)(variables, preprocess(images), train=False)
    return jax.nn.softmax(logits)


def load(
    workdir: str | os.PathLike[str],
    checkpoint: str | int = "best",
    *,
    model: Any = None,
    optimizer: optax.GradientTransformation | None = None,
) -> LoadedModel:
    """Loads the network of a run from one of its checkpoints, on whatever devices there are.

    The folder of an ensemble gives its members' soft vote as one network.

    Args:
        workdir: the folder of the run.
        checkpoint: ``"best"`` (highest validation accuracy; the latest where no validation split was held
            out), ``"latest"``, or a step.
        model: the network, or its class, of a run that was given one which no name finds.
        optimizer: that of a run that was given one which averages the weights (schedule-free ones); the
            weights are else as trained.

    Raises:
        RunError: ``workdir`` is not the folder of a run.
        ConfigError: the network's class is not found.
        CheckpointError: there is no such checkpoint, it is damaged, or it does not fit.
    """
    which = checkpoint_name(checkpoint)
    if is_ensemble(Path(workdir)):
        return load_ensemble(Path(workdir), which)
    return _load_run(workdir, which, model, optimizer)


def _load_run(
    workdir: str | os.PathLike[str],
    which: str | int,
    model: Any = None,
    optimizer: optax.GradientTransformation | None = None,
) -> LoadedModel:
    directory = find_checkpoints(workdir)
    recorded, run = read_config(workdir)
    experiment = recorded_experiment(from_dict(recorded), run, model, optimizer)
    best_metric = experiment.config.early_stopping.metric
    with Checkpoints(directory, best_metric=best_metric, read_only=True) as checkpoints:
        variables, meta = _restore_variables(checkpoints, which, experiment, optimizer is not None)
    return LoadedModel(
        module=with_own_statistics(experiment.model, experiment.config),
        variables=variables,
        config=experiment.config,
        step=int(meta["step"]),
        image_shape=experiment.image_shape,
        class_names=experiment.class_names,
        run=run,
        layout=experiment.layout,
    )


def _restore_variables(
    checkpoints: Checkpoints, which: str | int, experiment: Experiment, with_optimizer: bool
) -> tuple[dict[str, PyTree], dict[str, Any]]:
    """Reads what a network is evaluated with, and the meta of its checkpoint.

    The optimizer's state is read only where it has a share in that: the run may have been given an optimizer
    that no name finds.
    """
    target = experiment.abstract_checkpoint()
    state = target["state"]
    if with_optimizer or averages_weights(state.opt_state):
        restored, meta = checkpoints.restore(which, target)
        return restored["state"].eval_variables(), meta
    names = ["params", "batch_stats"] if state.ema is None else ["ema"]
    part = {"state": {name: getattr(state, name) for name in names}}
    restored, meta = checkpoints.restore(which, part, below=[f"state/{name}" for name in names])
    variables = restored["state"]
    return variables if state.ema is None else variables["ema"], meta


def is_ensemble(workdir: Path) -> bool:
    """Whether a folder is that of an ensemble."""
    return (workdir / ENSEMBLE_FILE).is_file()


def with_own_statistics(model: nn.Module, config: ConfigDict) -> nn.Module:
    """Returns the module for a person's own training loop, in which BatchNorm keeps its statistics itself."""
    if is_own(config.model.name):
        return model
    return model.clone(batch_norm_momentum=config.model.batch_norm_momentum)


def load_ensemble(workdir: Path, checkpoint: str | int) -> LoadedModel:
    """Loads all members of a finished ensemble; see `load`.

    Raises:
        RunError: its list of members cannot be read.
        CheckpointError: a member's checkpoint is missing, damaged, or does not fit.
    """
    path = workdir / ENSEMBLE_FILE
    try:
        names = [member["folder"] for member in read_json(path)["members"]]
        # A member lies in the ensemble's own folder, and is no ensemble itself.
        if not names or any(name in ("", "..") or name != Path(name).name for name in names):
            raise ValueError("expected the names of the members' folders")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"cannot read {path}: {error}; start the same ensemble command again") from error
    members = [_load_run(workdir / MEMBERS_DIR / name, checkpoint) for name in names]
    recorded, run = read_config(workdir)
    first = members[0]
    return LoadedModel(
        module=make_soft_vote([member.module for member in members]),
        variables=join_variables([member.variables for member in members]),
        config=from_dict(recorded),
        step=max(member.step for member in members),
        image_shape=first.image_shape,
        class_names=first.class_names,
        run=run,
        layout=first.layout,
    )


def checkpoint_name(checkpoint: str | int) -> str | int:
    """Reads ``latest``, ``best`` or a step.

    Raises:
        CheckpointError: for anything else.
    """
    if isinstance(checkpoint, int) or checkpoint in ("latest", "best"):
        return checkpoint
    if checkpoint.isdecimal():
        return int(checkpoint)
    raise CheckpointError(f"checkpoint {checkpoint!r}: expected a step, 'latest' or 'best'")


def recorded_experiment(
    config: ConfigDict,
    run: dict[str, Any],
    model: Any = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Experiment:
    """Builds the experiment that a run's ``config.json`` describes, without its data and random keys.

    Args:
        config: of the run.
        run: what ``config.json`` tells under ``run``.
        model: the network, where the configuration does not name it.
        optimizer: the optimizer, where the configuration does not name it.

    Raises:
        RunError: it does not tell enough of the data.
    """
    require_run_facts(run)
    return build_experiment(
        config,
        make_layout(),
        image_shape=run["image_shape"],
        class_names=run["class_names"],
        num_train=run["dataset"]["num_train"],
        model=model,
        optimizer=optimizer,
        is_trained=False,
    )
