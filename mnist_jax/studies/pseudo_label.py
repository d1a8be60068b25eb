"""Teacher, pseudo labels, student, and what the same labels give without them."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mnist_jax.config.seeds import parse_seeds
from mnist_jax.data import Dataset
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.read import read_pictures
from mnist_jax.errors import ConfigError, DataError, RunError
from mnist_jax.metrics.statistics import summarize
from mnist_jax.models.registry import count_parameters
from mnist_jax.run.datasets import RunData
from mnist_jax.run.experiment import Experiment
from mnist_jax.run.measure import MeasuredSteps
from mnist_jax.run.summary import RunTotals
from mnist_jax.runtime.devices import device_faults
from mnist_jax.runtime.distributed import refuse_several
from mnist_jax.runtime.environment import provenance
from mnist_jax.runtime.signals import StopRequest
from mnist_jax.storage.json_files import SUMMARY_FILE, write_json_atomic
from mnist_jax.storage.results import append_results, read_results
from mnist_jax.storage.workdir import open_workdir
from mnist_jax.studies.comparison import noted_comparisons
from mnist_jax.studies.folder import open_records, save_member
from mnist_jax.studies.labeling import (
    Drawn,
    confident,
    describe_accepted,
    draw_labeled,
    least_sure,
    smoothed_confidence,
    student_set,
    supervised_set,
)
from mnist_jax.studies.seeds import prepare_split
from mnist_jax.studies.trainer import Data, MemberTrainer, member_experiment
from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.format import format_percent
from mnist_jax.training.evaluation import EvaluationResult
from mnist_jax.training.logits import headline
from mnist_jax.training.state import TrainState

STUDENTS_DIR = "students"
# The seed's own random stream for changing the images that a teacher labels; training has 0 to 2.
_VIEWS_STREAM = 3
ROLES = ("teacher", "student", "alone")
# What may differ between two commands that go on with one folder.
FREE_FIELDS = ("seed", "pseudo_label.seeds")


def run_pseudo_label(
    config: ConfigDict, workdir: str, *, split: str = "test", console: RunConsole | None = None
) -> dict[str, Any]:
    """Does the comparison for each seed that is not finished yet.

    For each seed: labeled images are drawn; a teacher learns from them for ``teacher_steps``; in each round
    it labels the pool, the true labels of those images of which it is least sure are added (as many of
    ``queried_examples`` in every round but the last), and a student learns from both for ``student_steps``
    and is the next teacher; and a supervised-only network learns from all labeled images for as many steps as
    all of these together.

    Takes, returns and raises what `seeds.run_study` does, and raises RunError where no pseudo label is
    confident. The ``num_epochs`` of the configuration is not used; the last student of each seed gets a run's
    folder below ``students``.
    """
    console = console or RunConsole(enabled=False)
    run = prepare_pseudo_label(config, split, console)
    with open_workdir(workdir) as folder, StopRequest() as stop, device_faults("a smaller batch_size"):
        open_records(folder, "pseudo_label", run.config, run.facts, free=FREE_FIELDS)
        records = read_results(folder)
        done = {record["seed"] for record in records}
        for seed in run.seeds:
            if seed not in done:
                record = run.run_seed(seed, folder, stop)
                append_results(folder, [record])
                records.append(record)
                console.print(describe_seed(record))
        chosen = [record for record in records if record["seed"] in run.seeds]
        summary = _summary(chosen, run.config, run.facts) | noted_comparisons(folder)
        write_json_atomic(folder / SUMMARY_FILE, summary)
    return summary


def prepare_pseudo_label(config: ConfigDict, split: str, console: RunConsole) -> "PseudoLabelRun":
    """Loads and checks what the work needs. Takes and raises what `prepare_split` does."""
    refuse_several("a teacher with its students", **config.distributed)
    config, data, measured = prepare_split(config, split, console)
    settings = config.pseudo_label
    if settings.labeled_examples >= data.train.num_examples:
        raise ConfigError(
            [
                f"pseudo_label.labeled_examples: {settings.labeled_examples}; expected fewer "
                f"than the {data.train.num_examples} training images"
            ]
        )
    transductive = settings.pool == "test"
    if transductive:
        console.notice("TRANSDUCTIVE: the student learns from the test images (without their labels).")
    highest = smoothed_confidence(config.optim.label_smoothing, data.train.num_classes)
    if settings.threshold >= highest:
        console.notice(
            f"Few images will reach pseudo_label.threshold = {settings.threshold}: with "
            f"optim.label_smoothing = {config.optim.label_smoothing} a network that is sure says about "
            f"{highest:.3g}; expected a threshold below that, or no smoothing."
        )
    facts = data.facts()
    facts |= {"split": split, "transductive": transductive, "measured_sha256": measured.sha256}
    seeds = parse_seeds(settings.seeds)
    run = PseudoLabelRun(config, data, measured, seeds, facts, console)
    # What is wrong with the labels or the folder of pictures is said before the first training.
    run.draw(seeds[0])
    return run


@dataclass
class PseudoLabelRun:
    """All that is trained for pseudo labels, settled before its first step."""

    config: ConfigDict
    data: RunData
    measured: Dataset
    seeds: Sequence[int]
    facts: dict[str, Any]
    console: RunConsole
    trainers: dict[int, MemberTrainer] = field(default_factory=dict)
    folder_pool: np.ndarray | None = None

    def draw(self, seed: int) -> Drawn:
        """Draws the labeled images of a seed, and with them its pool."""
        train, settings = self.data.train, self.config.pseudo_label
        queried = settings.queried_examples
        try:
            chosen = draw_labeled(train.labels, settings.labeled_examples - queried, train.num_classes, seed)
        except ValueError as error:
            less = " less pseudo_label.queried_examples" if queried else ""
            raise ConfigError([f"pseudo_label.labeled_examples{less}: {error}"]) from error
        return Drawn((train.images[chosen], train.labels[chosen]), *self._pool(chosen))

    def measure(self, role: str) -> MeasuredSteps:
        """Does the first steps of a role's training, on images of its number, and throws them away."""
        seed, size, classes = self.seeds[0], self._size(role), self.data.train.num_classes
        images, labels = supervised_set(*self.draw(seed).labeled, size, seed)
        if role == "student" and self.config.pseudo_label.targets == "soft":
            labels = np.eye(classes, dtype=np.float32)[labels]
        return self.trainer(self.steps(role)).measure([seed], (images, labels))

    @property
    def num_params(self) -> int:
        """Trainable parameters of each network."""
        experiment = self.trainer(self.steps("teacher")).experiment
        return count_parameters(experiment.abstract_checkpoint()["state"].params)

    def run_seed(self, seed: int, folder: Path, stop: StopRequest) -> dict[str, Any]:
        """Trains everything for one seed, saves the student, and returns the line of results."""
        settings = self.config.pseudo_label
        drawn = self.draw(seed)
        data = supervised_set(*drawn.labeled, self._size("teacher"), seed)
        state, teacher_result, seconds = self._fit("teacher", "teacher", seed, data, stop)
        rounds, last = [], "teacher"
        views_key = jax.random.fold_in(jax.random.key(seed), _VIEWS_STREAM)
        for number in range(1, settings.rounds + 1):
            probabilities = self.trainer(self.steps(last)).probabilities(
                state, drawn.pool, num_views=settings.views, key=jax.random.fold_in(views_key, number)
            )
            drawn, probabilities, queried = self._query(drawn, probabilities, seed, number)
            accepted = confident(probabilities, settings.threshold)
            self._require_some(accepted, probabilities, seed)
            data = student_set(
                drawn.labeled,
                drawn.pool,
                probabilities,
                accepted,
                num_examples=self._size("student"),
                labeled_share=settings.labeled_share,
                soft=settings.targets == "soft",
                seed=seed,
            )
            state, result, taken = self._fit("student", f"student {number}", seed, data, stop)
            seconds += taken
            last = "student"
            figures = describe_accepted(drawn, probabilities, accepted)
            rounds.append(queried | figures | headline(result))
        data = supervised_set(*drawn.labeled, self._size("alone"), seed)
        _, alone_result, _ = self._fit("alone", "supervised only", seed, data, stop)
        self._keep(folder, seed, state, result, seconds)
        return {
            "seed": seed,
            "split": self.facts["split"],
            "transductive": self.facts["transductive"],
            "labeled": len(drawn.labeled[1]),
            "queried": int(settings.queried_examples),
            "pool": settings.pool,
            "pool_size": len(drawn.pool),
            **headline(result),
            "teacher": headline(teacher_result),
            "rounds": rounds,
            "supervised_only": headline(alone_result),
            "gain_over_teacher": result.accuracy - teacher_result.accuracy,
            "gain_over_supervised": result.accuracy - alone_result.accuracy,
            "steps": {role: self.steps(role) for role in ROLES},
            "train_seconds": seconds,
        }

    def steps(self, role: str) -> int:
        """Steps of a ``teacher``, a ``student`` or the supervised-only network (``alone``)."""
        settings = self.config.pseudo_label
        teacher, student = int(settings.teacher_steps), int(settings.student_steps)
        return {
            "teacher": teacher,
            "student": student,
            "alone": teacher + int(settings.rounds) * student,
        }[role]

    def _size(self, role: str) -> int:
        return self.steps(role) * int(self.config.batch_size)

    def trainer(self, steps: int) -> MemberTrainer:
        """Returns the one that trains for so many steps."""
        if steps not in self.trainers:
            self.trainers[steps] = MemberTrainer(self._experiment(steps, 0))
        return self.trainers[steps]

    def _experiment(self, steps: int, seed: int) -> Experiment:
        """A training of this many steps is one epoch over a set made for it."""
        config = copy.deepcopy(self.config)
        config.num_epochs, config.seed = 1, seed
        return member_experiment(config, self.data.train, steps * config.batch_size)

    def _fit(
        self, role: str, name: str, seed: int, data: Data, stop: StopRequest
    ) -> tuple[TrainState, EvaluationResult, float]:
        """Trains and measures; the float is the seconds of training."""
        trainer = self.trainer(self.steps(role))
        trained = trainer.train([seed], data, stop)
        state, seconds = trained.states[0], trained.train_seconds
        result = trainer.evaluate(state, self.measured)
        self.console.print(
            (f"  seed {seed}: {name} {format_percent(result.accuracy)}, {seconds:.0f} s", "dim")
        )
        return state, result, seconds

    def _pool(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """`Drawn.pool` and `Drawn.hidden` of the labeled images ``chosen``."""
        settings = self.config.pseudo_label
        if settings.pool == "test":
            return self.data.test.images, None
        if settings.pool == "folder":
            if self.folder_pool is None:
                self.folder_pool = _read_folder(settings.pool_dir, self.data.splits.preparation)
            return self.folder_pool, None
        rest = np.setdiff1d(np.arange(self.data.train.num_examples), chosen)
        return self.data.train.images[rest], self.data.train.labels[rest]

    def _query(
        self, drawn: Drawn, probabilities: np.ndarray, seed: int, number: int
    ) -> tuple[Drawn, np.ndarray, dict[str, int]]:
        """Spends the labels of a round where they tell most; returns what is left, and what was asked."""
        settings = self.config.pseudo_label
        # Not in the last round: its student learns from a network that has seen them all.
        total, rounds = settings.queried_examples, max(settings.rounds - 1, 1)
        count = total * number // rounds - total * (number - 1) // rounds
        if not count or number > rounds:
            return drawn, probabilities, {}
        rows = least_sure(probabilities, count)
        asked = drawn.query(rows)
        wrong = int((probabilities[rows].argmax(axis=1) != asked.labeled[1][-count:]).sum())
        self.console.print(
            (f"  seed {seed}: {count:,} labels queried, {wrong:,} of them not as predicted", "dim")
        )
        return asked, np.delete(probabilities, rows, axis=0), {"queried": count, "queried_wrong": wrong}

    def _require_some(self, accepted: np.ndarray, probabilities: np.ndarray, seed: int) -> None:
        if not len(accepted):
            raise RunError(
                f"seed {seed}: no image of the pool reaches pseudo_label.threshold = "
                f"{self.config.pseudo_label.threshold} (the highest is {probabilities.max():.3f}); expected "
                "a lower one, a longer training of the teacher, or no label smoothing"
            )

    def _keep(
        self, folder: Path, seed: int, state: TrainState, result: EvaluationResult, seconds: float
    ) -> None:
        dataset = self.facts["dataset"] | {"num_train": self._size("student")}
        save_member(
            folder / STUDENTS_DIR / f"seed-{seed}",
            self._experiment(self.steps("student"), seed),
            state,
            self.facts | {"dataset": dataset},
            RunTotals(train_seconds=seconds),
            result if self.facts["split"] == "test" else None,
        )


def _read_folder(folder: str, preparation: Preparation) -> np.ndarray:
    if not folder:
        raise ConfigError(["pseudo_label.pool_dir: is empty; expected a folder of pictures for pool=folder"])
    pictures = list(read_pictures([folder], preparation))
    images = [picture.image for picture in pictures if picture.image is not None]
    if not images:
        reason = pictures[0].error if pictures else "no pictures in it"
        raise DataError(f"pseudo_label.pool_dir {folder}: {reason}; expected a folder of pictures")
    return np.stack(images)


def describe_seed(record: dict[str, Any]) -> str:
    """One line on a finished seed; accuracies in percent."""
    flag = "; TRANSDUCTIVE" if record["transductive"] else ""
    last = record["rounds"][-1]
    teacher, alone = record["teacher"]["accuracy"], record["supervised_only"]["accuracy"]
    return (
        f"seed {record['seed']}: {record['split']} accuracy of teacher {format_percent(teacher)}, student "
        f"{format_percent(record['accuracy'])}, supervised only {format_percent(alone)}; "
        f"{last['accepted']:,} of {record['pool_size']:,} pseudo labels used{flag}"
    )


def _summary(records: list[dict[str, Any]], config: ConfigDict, facts: dict[str, Any]) -> dict[str, Any]:
    values = {
        "student_accuracy": [record["accuracy"] for record in records],
        "teacher_accuracy": [record["teacher"]["accuracy"] for record in records],
        "supervised_only_accuracy": [record["supervised_only"]["accuracy"] for record in records],
        "gain_over_teacher": [record["gain_over_teacher"] for record in records],
        "gain_over_supervised": [record["gain_over_supervised"] for record in records],
    }
    return {
        "kind": "pseudo_label",
        "split": facts["split"],
        "transductive": facts["transductive"],
        "labeled": config.pseudo_label.labeled_examples,
        "queried": config.pseudo_label.queried_examples,
        "seeds": [record["seed"] for record in records],
        "statistics": {name: asdict(summarize(series)) for name, series in values.items()},
        "steps": records[0]["steps"],
        "train_seconds": sum(record["train_seconds"] for record in records),
        "dataset": facts["dataset"],
        **provenance(),
    }
