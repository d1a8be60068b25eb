"""Trains several seeds of one configuration at once."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from flax import serialization
from ml_collections import ConfigDict
from scipy.special import softmax

from mnist_jax.data import Dataset
from mnist_jax.errors import RunError
from mnist_jax.models.forward import forward_fn
from mnist_jax.ops.native.library import begin as begin_to_compile
from mnist_jax.run.experiment import Experiment, experiment_for
from mnist_jax.run.measure import MeasuredSteps, measure_steps
from mnist_jax.runtime.collectives import exchange, gather, raise_together
from mnist_jax.runtime.compilation import CompiledFunction
from mnist_jax.runtime.devices import Layout, make_layout
from mnist_jax.runtime.signals import StopRequest
from mnist_jax.studies.vmapped_steps import (
    batch_sharding,
    jit_member_steps,
    member_mesh,
    place_members,
    place_shared,
    stack_members,
    take_member,
)
from mnist_jax.terminal.console import RunConsole
from mnist_jax.training.compiled_steps import CompiledSteps
from mnist_jax.training.epoch import RunKeys
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.evaluation import EvaluationResult
from mnist_jax.training.logits import evaluate_logits, make_logits_fn, make_view_probabilities_fn
from mnist_jax.training.state import TrainState

# Of an accelerator's memory: the rest is for the data, evaluation and what fragmentation wastes.
_SHARE_OF_MEMORY = 0.7
_MOST_SIDE_BY_SIDE = 32

# uint8 images [N, H, W, C], and int32 labels [N] or float32 distributions [N, classes].
Data = tuple[np.ndarray, np.ndarray]


class Stopped(Exception):  # noqa: N818  (no error: a person asked for it)
    """A signal asked to stop; members that were not finished are started anew next time."""

    def __init__(self, stop: StopRequest):
        """Keeps the exit code that goes with the signal."""
        self.exit_code = stop.exit_code
        super().__init__("stopped")


@dataclass(frozen=True)
class Trained:
    """Members after their last step."""

    seeds: tuple[int, ...]  # one a member
    states: tuple[TrainState, ...]  # one a member
    epoch_losses: np.ndarray  # float64 [members, epochs], mean training loss in nats
    train_seconds: float  # device work of all together
    compile_seconds: float  # tracing and compiling


def member_experiment(config: ConfigDict, train: Dataset, num_train: int = 0) -> Experiment:
    """Builds an experiment whose members' devices are chosen group by group.

    ``train`` tells what images and classes are like, and how many there are where ``num_train`` is 0.

    Raises:
        ConfigError: the network does not fit the images.
    """
    everything = make_layout()
    begin_to_compile(everything.platform)
    alone = Layout(everything.replicated, None, everything.platform, 1)
    return experiment_for(config, alone, train, num_train=num_train)


class MemberTrainer:
    """Trains groups of seeds of one experiment; groups of one size share a compiled program."""

    def __init__(self, experiment: Experiment):
        """Takes an experiment of `member_experiment`, whose seed is not used; compiles nothing yet."""
        self.experiment = experiment
        self._programs: dict[int, CompiledFunction] = {}
        self._logits_fn = make_logits_fn(forward_fn(experiment.model), experiment.config.eval_batch_size)

    def groups(self, seeds: Sequence[int], size: int) -> list["Group"]:
        """Divides seeds into groups of ``size``, the last of them smaller where it does not go out even."""
        return [Group(self, tuple(seeds[start : start + size])) for start in range(0, len(seeds), size)]

    def train(
        self,
        seeds: Sequence[int],
        data: Data,
        stop: StopRequest,
        on_epoch: Callable[[int, np.ndarray], None] | None = None,
    ) -> Trained:
        """Trains the members of these seeds to their last step.

        Args:
            seeds: one a member.
            data: the images and labels to train on.
            stop: looked at between two calls to the device.
            on_epoch: called with the epoch, from 1, and each member's training loss in it.

        Raises:
            RunError: a member's loss is not finite; names the seed and the step.
            Stopped: as ``stop`` asked.
        """
        experiment, count = self.experiment, len(seeds)
        steps, states, logs = self._begin(seeds, data)
        compiled_before = steps.compile_seconds
        steps_per_call = experiment.steps_per_call(count)
        step, train_seconds = 0, 0.0
        epoch_losses: list[np.ndarray] = []
        while step < experiment.total_steps:
            length = steps_per_call.next(step)
            states, logs, seconds = steps.run(states, logs, length)
            steps_per_call.measured(length, seconds)
            train_seconds += seconds
            step += length
            losses = np.asarray(logs.loss_sum, np.float64)
            self._check_losses(losses, seeds, step, length)
            if step % experiment.steps_per_epoch == 0:
                epoch_losses.append(losses.mean(axis=1) / experiment.config.batch_size)
                if on_epoch:
                    on_epoch(len(epoch_losses), epoch_losses[-1])
            if stop.requested:
                raise Stopped(stop)
        return Trained(
            seeds=tuple(seeds),
            states=tuple(
                jax.device_put(take_member(states, i), jax.local_devices()[0]) for i in range(count)
            ),
            epoch_losses=np.stack(epoch_losses, axis=1),
            train_seconds=train_seconds,
            compile_seconds=steps.compile_seconds - compiled_before,
        )

    def measure(self, seeds: Sequence[int], data: Data) -> MeasuredSteps:
        """Does the first steps of a group, to see what they take, and throws the members away."""
        steps, states, logs = self._begin(seeds, data)
        return measure_steps(steps, self.experiment.steps_per_call(len(seeds)), states, logs)

    def _begin(self, seeds: Sequence[int], data: Data) -> tuple[CompiledSteps, TrainState, EpochLog]:
        experiment, count = self.experiment, len(seeds)
        mesh = member_mesh(count, jax.local_devices(), experiment.config.batch_size)
        program = self._programs.get(count)
        if program is None:
            run_steps = experiment.make_train_steps(batch_sharding(mesh))
            program = CompiledFunction(
                jit_member_steps(run_steps, mesh, static_length=experiment.static_length),
                experiment.compiler_options,
            )
            self._programs[count] = program
        keys = [RunKeys.from_seed(seed) for seed in seeds]
        states = place_members(stack_members([self.create_state(key) for key in keys]), mesh)
        logs = place_members(stack_members([EpochLog.empty(experiment.steps_per_epoch) for _ in seeds]), mesh)
        stacked_keys = place_members(stack_members(keys), mesh)
        images, labels = place_shared(data, mesh)
        steps = CompiledSteps(program, images, labels, stacked_keys, experiment.static_length)
        return steps, states, logs

    def create_state(self, keys: RunKeys) -> TrainState:
        """The state of step 0 for the streams of one seed."""
        return self.experiment.initialize(keys.params)

    def evaluate(self, state: TrainState, dataset: Dataset) -> EvaluationResult:
        """Measures a member on all images of a data set."""
        return evaluate_logits(self.logits(state, dataset.images), dataset.labels)

    def logits(self, state: TrainState, images: np.ndarray) -> np.ndarray:
        """What a member answers, with the variables it evaluates with: float32 ``[N, classes]``."""
        return np.asarray(self._logits_fn(state.eval_variables(), images))

    def probabilities(
        self, state: TrainState, images: np.ndarray, *, num_views: int, key: jax.Array
    ) -> np.ndarray:
        """What a member takes for likely, float64 ``[N, classes]``.

        It is averaged over each image and ``num_views`` copies of it, changed as in training.

        Raises:
            ValueError: for copies where the experiment has no augmentation.
        """
        if not num_views:
            return softmax(self.logits(state, images).astype(np.float64), axis=1)
        answer = self._probabilities_fn(state.eval_variables(), images, key, num_views)
        return np.asarray(answer, np.float64)

    @functools.cached_property
    def _probabilities_fn(self) -> Callable[..., jax.Array]:
        experiment = self.experiment
        if experiment.augment_fn is None:
            raise ValueError("changed copies of images; expected none without augmentation")
        return make_view_probabilities_fn(
            forward_fn(experiment.model), experiment.augment_fn, experiment.config.eval_batch_size
        )

    def choose_group_size(self, requested: int, num_members: int, data: Data) -> int:
        """How many to train at once; for 0 as many as an accelerator's memory holds, one for each CPU device.

        Several processes divide the members evenly, where that makes smaller groups.
        """
        num_members = -(-num_members // jax.process_count())
        if requested:
            return min(requested, num_members)
        if self.experiment.layout.platform == "cpu":
            # Several on one device take longer than one after another: products of a batch are slower.
            return min(jax.local_device_count(), num_members)
        device = jax.local_devices()[0]
        limit = (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30)
        left = _SHARE_OF_MEMORY * limit - sum(array.nbytes for array in data)
        fits = int(left // max(self.bytes_of_member(data), 1))
        count = jax.local_device_count()
        return min(max(1, fits) * count, _MOST_SIDE_BY_SIDE * count, num_members)

    def bytes_of_member(self, data: Data) -> int:
        """Device memory that training one member takes beside the data, as its compiled program says."""
        experiment = self.experiment
        keys = RunKeys.from_seed(0)
        state, log = self.create_state(keys), EpochLog.empty(experiment.steps_per_epoch)
        function = CompiledFunction(experiment.jit_train_steps(), experiment.compiler_options)
        steps = CompiledSteps(function, *data, keys, experiment.static_length)
        memory = steps.program(state, log, experiment.steps_per_call().next(0)).memory_analysis()
        of_state = sum(leaf.nbytes for leaf in jax.tree.leaves((state, log)))
        return int(memory.temp_size_in_bytes) + of_state

    def _check_losses(self, losses: np.ndarray, seeds: Sequence[int], step: int, length: int) -> None:
        end = (step - 1) % self.experiment.steps_per_epoch + 1
        wrong = np.argwhere(~np.isfinite(losses[:, end - length : end]))
        if len(wrong):
            member, index = wrong[0]
            raise RunError(
                f"the loss of seed {seeds[member]} is not finite in step {step - length + index + 1}; "
                "expected a finite one: try a lower optim.learning_rate "
                f"(it is {self.experiment.config.optim.learning_rate})"
            )


@dataclass(frozen=True)
class Group:
    """Seeds that are trained side by side, and by whom."""

    trainer: MemberTrainer
    seeds: tuple[int, ...]

    def train(self, data: Data, stop: StopRequest, console: RunConsole) -> Trained:
        """Trains them, and tells of each epoch; raises what `MemberTrainer.train` does."""
        seeds, num_epochs = self.seeds, self.trainer.experiment.config.num_epochs
        named = f"seed {seeds[0]}" if len(seeds) == 1 else f"seed {seeds[0]} to {seeds[-1]}"

        def report(epoch: int, losses: np.ndarray) -> None:
            console.print((f"  {named}: epoch {epoch}/{num_epochs}, loss {losses.mean():.4f}", "dim"))

        return self.trainer.train(seeds, data, stop, report)


def train_groups(
    groups: Sequence[Group], data: Data, stop: StopRequest, console: RunConsole
) -> Iterator[tuple[Group, Trained]]:
    """Trains one group after the other and tells of each epoch; yields each once it is finished.

    Of several processes each trains the next group with the devices of its own, and all yield what all have
    finished; they go on together.

    Raises:
        RunError: as `MemberTrainer.train`, or in another process.
        Stopped: as `MemberTrainer.train`, in every process where one was asked to.
    """
    num_processes, index = jax.process_count(), jax.process_index()
    for start in range(0, len(groups), num_processes):
        together = groups[start : start + num_processes]
        if num_processes == 1:
            yield together[0], together[0].train(data, stop, console)
        else:
            mine = together[index] if index < len(together) else None
            yield from _train_together(together, mine, data, stop, console)


def _train_together(
    groups: Sequence[Group], mine: Group | None, data: Data, stop: StopRequest, console: RunConsole
) -> Iterator[tuple[Group, Trained]]:
    """One group in each process, or none in the last; yields what has been finished anywhere."""
    trained, error = None, None
    try:
        trained = mine.train(data, stop, console) if mine is not None else None
    except Stopped:
        pass
    except RunError as raised:
        error = raised
    raise_together(error, "training")
    contents = exchange(_packed(trained) if trained else b"")
    for group, content in zip(groups, contents, strict=False):
        if content:
            yield group, _unpacked(group, content)
    number = int(gather(stop.signal or 0).max())
    if number:
        stop.request(number)
        raise Stopped(stop)


def _packed(trained: Trained) -> bytes:
    return serialization.to_bytes(
        {
            "states": dict(enumerate(map(serialization.to_state_dict, trained.states))),
            "epoch_losses": trained.epoch_losses,
            "seconds": [trained.train_seconds, trained.compile_seconds],
        }
    )


def _unpacked(group: Group, content: bytes) -> Trained:
    values = serialization.msgpack_restore(content)
    template = group.trainer.create_state(RunKeys.from_seed(0))
    states = [
        serialization.from_state_dict(template, values["states"][str(i)]) for i in range(len(group.seeds))
    ]
    train_seconds, compile_seconds = values["seconds"].values()
    return Trained(group.seeds, tuple(states), values["epoch_losses"], train_seconds, compile_seconds)
