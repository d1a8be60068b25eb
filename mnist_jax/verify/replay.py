"""Segments of a run trained again from their checkpoints, and compared bit by bit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.checkpoints.manager import BEST_METRIC, Checkpoints
from mnist_jax.config.check import from_dict
from mnist_jax.errors import ConfigError
from mnist_jax.run.certificate import describe_start
from mnist_jax.run.datasets import RunData, load_run_data
from mnist_jax.run.experiment import Experiment, experiment_for
from mnist_jax.run.extension import first_step
from mnist_jax.run.resume import Settings
from mnist_jax.runtime.devices import make_layout
from mnist_jax.runtime.environment import package_sha256, provenance
from mnist_jax.storage.certificate import Certificate
from mnist_jax.storage.json_files import read_config
from mnist_jax.storage.workdir import CHECKPOINTS_DIR
from mnist_jax.training.compiled_steps import CompiledSteps
from mnist_jax.training.digest import array_digests
from mnist_jax.verify.files import first_difference, state_links


@dataclass(frozen=True)
class Segment:
    """The steps between two states that can be had: step 0, a checkpoint, or the end."""

    number: int
    begin: int  # step 0, or that of a checkpoint
    states: tuple[int, ...]  # the certified steps after it, the last one at its end

    def __str__(self) -> str:
        return f"segment {self.number}, steps {self.begin} to {self.states[-1]}"


class Replay:
    """Trains segments of a run again, on the devices of this machine."""

    def __init__(self, folder: Path, certificate: Certificate):
        """Loads the data and builds what each part of the run was trained with.

        Raises:
            MnistJaxError: ``config.json`` or the data cannot be read, or do not fit.
        """
        self._certificate, self._states = certificate, state_links(certificate)
        self._settings = Settings(*read_config(folder))
        self._layout = make_layout()
        self._path = folder / CHECKPOINTS_DIR
        config, self._data = self._load(len(self._settings.extensions))
        # By the number of extensions before.
        self._experiments: dict[int, Experiment] = {}
        self._compiled: dict[int, CompiledSteps] = {}
        self.segments = self._divide(bool(config.init.run))

    def _load(self, num_extensions: int) -> tuple[Any, RunData]:
        config = from_dict(self._settings.until(num_extensions).config)
        return load_run_data(config, self._layout.num_devices)

    def _divide(self, has_start: bool) -> list[Segment]:
        folder = CheckpointFolder(self._path, BEST_METRIC, lambda warning: None)
        saved = [step for step in folder.latest_first() if folder.is_intact(step)]
        # What another run's weights were put into is not there any more.
        begins = sorted({*saved} | (set() if has_start or self._certificate.links[0]["step"] else {0}))
        segments: list[Segment] = []
        for begin, end in zip(begins, [*begins[1:], max(self._states, default=0)], strict=True):
            states = tuple(sorted(step for step in self._states if begin < step <= end))
            if states:
                segments.append(Segment(len(segments), begin, states))
        return segments

    def chosen(self, word: str) -> list[Segment]:
        """Returns the segment of a number, or ``all``.

        Raises:
            ConfigError: there is no such segment.
        """
        if word == "all":
            return self.segments
        if not 0 <= int(word) < len(self.segments):
            known = "; ".join(map(str, self.segments)) or "there is none"
            raise ConfigError([f"--segment: there is no segment {word}; expected one of: {known}"])
        return [self.segments[int(word)]]

    def run(self, segment: Segment, on_step: Callable[[str], None]) -> str:
        """Trains a segment again.

        Returns:
            the first difference in words, or empty text where every certified state is equal bit for bit.

        Raises:
            CheckpointError: the checkpoint that it begins with is damaged.
        """
        state, log = self._begin(segment.begin)
        step = segment.begin
        for end in segment.states:
            while step < end:
                experiment = self._experiment(step)
                steps_per_epoch = experiment.steps_per_epoch
                length = min(end - step, steps_per_epoch - step % steps_per_epoch)
                train_steps = self._train_steps(step)
                state, log, _ = train_steps.run(state, log, length)
                step += length
            on_step(f"step {step}")
            name = first_difference(self._states[end]["arrays"], array_digests(state))
            if name:
                return f"step {end}: array {name} differs{self._where(end, name, state)}"
        return ""

    def _begin(self, step: int) -> tuple[Any, Any]:
        experiment = self._experiment(step)
        if step == 0:
            return experiment.create_state(), experiment.create_log()
        with Checkpoints(self._path, read_only=True) as checkpoints:
            restored, _ = checkpoints.restore(step, experiment.abstract_checkpoint())
        return restored["state"], restored["log"]

    def _phase(self, step: int) -> int:
        return sum(extension["after_step"] <= step for extension in self._settings.extensions)

    def _experiment(self, step: int) -> Experiment:
        """What the step after ``step`` steps was trained with: an extension changes the schedule."""
        phase = self._phase(step)
        if phase not in self._experiments:
            config, _ = self._load(phase)
            first = first_step(self._settings.extensions[:phase])
            experiment = experiment_for(config, self._layout, self._data.train, first_step=first)
            self._experiments[phase] = experiment
        return self._experiments[phase]

    def _train_steps(self, step: int) -> CompiledSteps:
        phase = self._phase(step)
        if phase not in self._compiled:
            self._compiled[phase] = self._experiment(step).compiled_steps(self._data.train)
        return self._compiled[phase]

    def _where(self, step: int, name: str, state: Any) -> str:
        """The first index that differs, where the checkpoint of that step is there to compare with."""
        folder = CheckpointFolder(self._path, BEST_METRIC, lambda warning: None)
        if step not in folder.latest_first() or not folder.is_intact(step):
            return "; no checkpoint of that step is there to say where"
        with Checkpoints(self._path, read_only=True) as checkpoints:
            target = self._experiment(step).abstract_checkpoint()
            saved = checkpoints.restore(step, target)[0]["state"]
        return describe_difference(_array(saved, name), _array(state, name))


def describe_difference(saved: np.ndarray, trained: np.ndarray) -> str:
    """Says in words where two arrays of one shape and dtype differ first, bit by bit."""
    width = saved.dtype.itemsize
    ours, theirs = (
        np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, width)
        for array in (trained, saved)
    )
    differing = np.flatnonzero((ours != theirs).any(axis=1))
    if not len(differing):
        return "; the checkpoint holds what was trained again, so it is not what was certified"
    index = np.unravel_index(differing[0], saved.shape)
    place = f"[{', '.join(map(str, index))}]"
    return (
        f" at {place}: {saved[index]!r} in the checkpoint, {trained[index]!r} trained again; "
        f"{len(differing):,} of {saved.size:,} numbers differ"
    )


def explain(certificate: Certificate) -> str:
    """Says whether equal bits are to be expected here, by what the run was made with."""
    made = provenance()
    code = {"git_commit": made["git_commit"], "package_sha256": package_sha256()}
    here = {**made, "code": code}
    starts = certificate.starts
    names = ("device", "num_devices", "num_processes", "versions")
    others = [start for start in starts if any(start.get(name) != here[name] for name in names)]
    if others:
        return (
            f"made with {describe_start(others[0])}, trained again with {describe_start(here)}: "
            "other devices and versions sum in another order, so bits may differ and nothing need be wrong"
        )
    if any(start.get("code", {}).get("package_sha256") != code["package_sha256"] for start in starts):
        return "made with other code than is here; equal bits are to be expected of the same code only"
    return "made with this code, these versions and this kind of device: equal bits are to be expected"


def _array(state: Any, name: str) -> np.ndarray:
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    found: Sequence[Any] = [
        leaf for path, leaf in leaves if jax.tree_util.keystr(path, simple=True, separator="/") == name
    ]
    return np.asarray(found[0])
