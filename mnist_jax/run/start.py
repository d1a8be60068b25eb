"""What a run starts from: the weights of another, all of them or all but those that its classes decide."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.checkpoints.manager import BEST_METRIC, read_meta
from mnist_jax.checkpoints.manifest import describe_leaves, leaf_differences
from mnist_jax.checkpoints.variables import TrainedVariables, read_variables
from mnist_jax.config.patterns import parse_patterns
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.errors import CheckpointError, ConfigError, RunError
from mnist_jax.run.datasets import RunData
from mnist_jax.run.experiment import Experiment
from mnist_jax.run.load import ENSEMBLE_FILE, MEMBERS_DIR
from mnist_jax.runtime.collectives import on_primary
from mnist_jax.storage.workdir import CHECKPOINTS_DIR
from mnist_jax.training.groups import map_names, matches_any
from mnist_jax.training.state import TrainState

# Of the variables of a state: what `Start.apply` replaces.
_COLLECTIONS = ("params", "batch_stats")


@dataclass(frozen=True)
class Start:
    """The variables that a run takes over before its first step."""

    # What ``run.init`` in config.json is: ``run``, ``step``, ``sha256``, ``taken``, ``new`` and ``remarks``;
    # empty for a run that starts from scratch.
    record: dict[str, Any] = field(default_factory=dict)
    # By name, ``params/conv0/kernel``; empty where the run has begun and goes on from its own checkpoint.
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Returns what ``config.json`` keeps of it, under ``run``."""
        return {"init": self.record} if self.record else {}

    def apply(self, state: TrainState) -> TrainState:
        """Puts the variables into a state of step 0, and starts its optimizer and its average from them."""
        if not self.arrays:
            return state
        new = {
            collection: map_names(
                lambda name, leaf, of=collection: self.arrays.get(f"{of}/{name}", leaf),
                getattr(state, collection),
            )
            for collection in _COLLECTIONS
        }
        new = jax.tree.map(jax.numpy.asarray, new)
        ema = None if state.ema is None else jax.tree.map(jax.numpy.copy, new)
        return state.replace(**new, opt_state=jax.jit(state.tx.init)(new["params"]), ema=ema)


def find_start(experiment: Experiment, data: RunData, folder: Path, on_note: Callable[[str], None]) -> Start:
    """Reads what ``init.run`` names; of a run that has begun already, the record it keeps.

    A run goes on from its own checkpoint, so the other run may be gone or have been trained further by then.

    Args:
        experiment: of the run.
        data: of the run.
        folder: of the run.
        on_note: receives lines for people: what is taken, what is new, what fits badly.

    Raises:
        ConfigError: the weights do not fit; each array is listed.
        CheckpointError: there is no such checkpoint, or it is damaged.
    """
    if not experiment.config.init.run:
        return Start()
    record = on_primary(lambda: _recorded(folder))
    if record is not None:
        return Start(record)
    source = open_source(experiment.config.init.run, on_note)
    start = fit(source, experiment, data.splits.preparation)
    for remark in start.record["remarks"]:
        on_note(remark)
    return start


def _recorded(folder: Path) -> dict[str, Any] | None:
    """What the newest checkpoint of a run tells of its start; None where there is none yet."""
    checkpoints = CheckpointFolder(folder / CHECKPOINTS_DIR, BEST_METRIC, lambda warning: None)
    latest = next((step for step, _ in checkpoints.intact(checkpoints.latest_first())), None)
    return None if latest is None else read_meta(checkpoints, latest)["run"].get("init", {})


def open_source(path: str, on_warning: Callable[[str], None]) -> TrainedVariables:
    """Reads the weights that ``init.run`` names; see `read_variables`.

    Raises:
        CheckpointError: there are none, or they are damaged.
    """
    if (Path(path) / ENSEMBLE_FILE).is_file():
        members = sorted(folder.name for folder in (Path(path) / MEMBERS_DIR).iterdir())
        raise CheckpointError(
            f"init.run: {path} is an ensemble; expected a single network, such as its member "
            f"{Path(path) / MEMBERS_DIR / members[0]}"
        )
    try:
        source = read_variables(path, on_warning)
    except (CheckpointError, RunError) as error:
        text = str(error).removeprefix("workdir ")
        raise CheckpointError(
            f"init.run: {text}; expected the folder of a run or RUN/checkpoints/STEP"
        ) from error
    missing = [name for name in ("class_names", "image_shape", "dataset") if name not in source.meta["run"]]
    if missing:
        raise CheckpointError(
            f"init.run: {source.path} does not tell its {missing[0]}; expected what a run saves"
        )
    return source


def fit(source: TrainedVariables, experiment: Experiment, preparation: Preparation) -> Start:
    """Decides what is taken: everything, or, where the classes differ, all but what they decide.

    Args:
        source: the trained network.
        experiment: the run that is to start from it.
        preparation: of the pictures of that run.

    Raises:
        ConfigError: an array is missing or has another shape or type, or one that is frozen is not taken.
    """
    state = experiment.abstract_checkpoint()["state"]
    expected = _describe(state)
    found = describe_leaves(source.arrays)
    classes, own_classes = tuple(source.meta["run"]["class_names"]), experiment.class_names
    new = [] if classes == own_classes else decided_by_classes(experiment)
    differences = leaf_differences(_without(found, new), _without(expected, new))
    where = str(source.path)
    frozen = parse_patterns(experiment.config.init.freeze)
    problems = [f"init.run: {where}: {difference}" for difference in differences]
    problems += _shape_problem(source, experiment) if problems else []
    problems += [
        f"init.freeze: {name} starts anew, for the classes of {where} are others; expected it to be trained"
        for name in new
        if matches_any(name.partition("/")[2], frozen)
    ]
    if problems:
        raise ConfigError(problems)
    taken = [name for name in expected if name not in new]
    record = {
        "run": str(source.path.parent.parent),
        "step": source.step,
        "sha256": source.sha256,
        "taken": taken,
        "new": new,
        "remarks": [
            _describe_taking(source, taken, new, classes, own_classes),
            *_describe_average(source),
            *_describe_frozen(taken, frozen),
            *_compare_preparations(Preparation.of_run(source.meta["run"]), preparation),
        ],
    }
    return Start(record, {name: source.arrays[name] for name in taken})


def decided_by_classes(experiment: Experiment) -> list[str]:
    """The variables of a network whose shapes follow from the number of classes: its head."""
    model, count = experiment.model, experiment.num_classes
    expected = _describe(experiment.abstract_checkpoint()["state"])
    changing = []
    if "num_classes" in model.__dataclass_fields__:
        images = jax.ShapeDtypeStruct((1, *experiment.image_shape), np.float32)
        larger = model.clone(num_classes=count + 1)
        shapes = describe_leaves(jax.eval_shape(larger.init, jax.random.key(0), images))
        changing = [name for name in expected if expected[name] != shapes.get(name)]
    # A network of one's own may have the number written into it.
    return changing or [name for name in expected if expected[name].endswith((f",{count}]", f"[{count}]"))]


def _describe(state: TrainState) -> dict[str, str]:
    return describe_leaves({collection: getattr(state, collection) for collection in _COLLECTIONS})


def _without(leaves: Mapping[str, str], names: list[str]) -> dict[str, str]:
    return {name: described for name, described in leaves.items() if name not in names}


def _shape_problem(source: TrainedVariables, experiment: Experiment) -> list[str]:
    """Why the arrays do not fit, where the images tell it."""
    theirs, ours = tuple(source.meta["run"]["image_shape"]), experiment.image_shape
    if theirs == ours:
        return []
    shown = ["x".join(map(str, shape)) for shape in (theirs, ours)]
    if theirs[2] != ours[2]:
        advice = f"pictures with {theirs[2]} channel{'s' * (theirs[2] != 1)}"
    else:
        advice = f"data.image_size={max(theirs[:2])}"
    return [f"init.run: that network takes images of {shown[0]}, this run has {shown[1]}; expected {advice}"]


def _describe_taking(
    source: TrainedVariables, taken: list[str], new: list[str], theirs: tuple[str, ...], ours: tuple[str, ...]
) -> str:
    text = f"starts from {source.path} (sha256 {source.sha256[:12]}): "
    if not new:
        return f"{text}all {len(taken)} arrays are taken"
    layers = dict.fromkeys(name.split("/")[1] for name in new)
    others = f"{len(theirs)} classes there, {len(ours)} here"
    if len(theirs) == len(ours):
        others = f"{len(ours)} classes of other names"
    return f"{text}{len(taken)} arrays are taken, {', '.join(layers)} starts anew ({others})"


def _describe_average(source: TrainedVariables) -> list[str]:
    """A schedule-free optimizer keeps the average that its run evaluates with to itself."""
    if source.meta.get("config", {}).get("optim", {}).get("name") != "schedule_free_adamw":
        return []
    return ["trained with schedule_free_adamw: its weights as trained are taken, not its average"]


def _describe_frozen(taken: list[str], patterns: tuple[str, ...]) -> list[str]:
    frozen = [name for name in taken if matches_any(name.partition("/")[2], patterns)]
    layers = dict.fromkeys(name.split("/")[1] for name in frozen)
    return [f"frozen: {len(frozen)} of these, in {', '.join(layers)}"] if frozen else []


def _compare_preparations(theirs: Preparation, ours: Preparation) -> list[str]:
    if (theirs.form, theirs.box) == (ours.form, ours.box):
        return []
    return [
        f"prepared otherwise: for that network {theirs.describe()}; here {ours.describe()}. Its first layers "
        "have to learn the difference"
    ]
