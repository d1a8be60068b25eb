"""What a run takes from another, and what is said where it does not fit."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from mnist_jax.checkpoints.manifest import describe_leaves
from mnist_jax.checkpoints.variables import TrainedVariables
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.errors import CheckpointError, ConfigError
from mnist_jax.run.start import decided_by_classes, fit, open_source
from tests.run.test_experiment import FACTS, build
from tests.trees import assert_same_bits

RUN = Path("/runs/digits")
FOUR = {**FACTS, "class_names": ["bar", "dot", "ring", "star"]}
PLAIN = Preparation("resized", (10, 9, 1))


def trained(experiment, value=0.5) -> TrainedVariables:
    """What a finished run of an experiment would have, all of it one number."""
    state = experiment.abstract_checkpoint()["state"]
    tree = {"params": state.params, "batch_stats": state.batch_stats}
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    run = {
        "class_names": list(experiment.class_names),
        "image_shape": list(experiment.image_shape),
        "dataset": {"preparation": Preparation("resized", experiment.image_shape).as_dict()},
    }
    arrays = {
        name: np.full(leaf.shape, value, leaf.dtype) for name, (_, leaf) in zip(names, leaves, strict=True)
    }
    return TrainedVariables(RUN / "checkpoints" / "70", 70, "ab" * 32, arrays, {"run": run})


def refused(source, experiment, preparation=PLAIN):
    with pytest.raises(ConfigError) as caught:
        fit(source, experiment, preparation)
    return [problem.removeprefix(f"init.run: {RUN}/checkpoints/70: ") for problem in caught.value.problems]


@pytest.fixture(scope="module")
def source():
    return trained(build())


def test_with_the_same_classes_everything_is_taken_into_weights_average_and_optimizer(source):
    experiment = build(optim__ema_fraction=0.2)
    start = fit(source, experiment, PLAIN)
    assert start.record["new"] == [] and sorted(start.record["taken"]) == sorted(source.arrays)
    assert (start.record["run"], start.record["step"]) == (str(RUN), 70)
    assert start.record["sha256"] == "ab" * 32
    assert start.record["remarks"] == [
        f"starts from {RUN}/checkpoints/70 (sha256 abababababab): all 20 arrays are taken"
    ]
    state = experiment.create_state(start.apply)
    assert all((np.asarray(leaf) == 0.5).all() for leaf in jax.tree.leaves(state.variables()))
    assert_same_bits(state.ema, state.variables())
    assert int(state.step) == 0
    plain = experiment.create_state()
    assert_same_bits(state.opt_state, plain.opt_state)
    assert describe_leaves(state) == describe_leaves(plain)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (FOUR, "3 classes there, 4 here"),
        ({**FACTS, "class_names": ["bar", "ring", "dot"]}, "3 classes of other names"),
    ],
)
def test_with_other_classes_the_head_starts_anew(source, facts, reason):
    start = fit(source, build(facts), PLAIN)
    assert start.record["new"] == ["params/head/bias", "params/head/kernel"]
    assert not set(start.record["new"]) & set(start.arrays) and len(start.arrays) == 18
    assert start.record["remarks"][0].endswith(f": 18 arrays are taken, head starts anew ({reason})")


def test_a_norm_behind_the_head_belongs_to_it():
    experiment = build({**FOUR, "image_shape": [28, 28, 1]}, model__name="simple_m7", batch_size=8)
    assert {name.split("/")[1] for name in decided_by_classes(experiment)} == {"head", "bn"}
    assert len(decided_by_classes(experiment)) == 5


def test_what_has_another_shape_is_listed_and_the_images_named_where_they_are_the_reason(source):
    assert refused(source, build({**FACTS, "image_shape": [14, 9, 1]})) == [
        "params/dense/kernel: float32[8,8] in the checkpoint, float32[16,8] expected",
        "init.run: that network takes images of 10x9x1, this run has 14x9x1; expected data.image_size=10",
    ]
    assert refused(source, build({**FACTS, "image_shape": [10, 9, 3]})) == [
        "params/conv0/kernel: float32[3,3,1,3] in the checkpoint, float32[3,3,3,3] expected",
        "init.run: that network takes images of 10x9x1, this run has 10x9x3; expected pictures "
        "with 1 channel",
    ]
    assert refused(source, build(FOUR, model__dense_features=7)) == [
        "batch_stats/dense/bn/mean: float32[8] in the checkpoint, float32[7] expected",
        "batch_stats/dense/bn/var: float32[8] in the checkpoint, float32[7] expected",
        "params/dense/bias: float32[8] in the checkpoint, float32[7] expected",
        "params/dense/bn/bias: float32[8] in the checkpoint, float32[7] expected",
        "params/dense/bn/scale: float32[8] in the checkpoint, float32[7] expected",
        "params/dense/kernel: float32[8,8] in the checkpoint, float32[8,7] expected",
    ]


def test_what_starts_anew_cannot_be_frozen(source):
    assert refused(source, build(FOUR, init__run="x", init__freeze="*kernel")) == [
        f"init.freeze: params/head/kernel starts anew, for the classes of {RUN}/checkpoints/70 are others; "
        "expected it to be trained"
    ]
    start = fit(source, build(init__run="x", init__freeze="conv*,head/bias"), PLAIN)
    assert start.record["remarks"][1] == "frozen: 13 of these, in conv0, conv1, head"


def test_another_preparation_of_the_pictures_is_said(source):
    (_, remark) = fit(source, build(), Preparation("mnist", (10, 9, 1))).record["remarks"]
    assert remark.startswith("prepared otherwise: for that network pictures are taken as they are")
    assert "; here pictures are brought to MNIST's form" in remark


def test_an_average_that_only_an_optimizer_has_is_not_taken_and_that_is_said(source):
    config = {"optim": {"name": "schedule_free_adamw"}}
    schedule_free = dataclasses.replace(source, meta={**source.meta, "config": config})
    (_, remark) = fit(schedule_free, build(), PLAIN).record["remarks"]
    assert remark.startswith("trained with schedule_free_adamw: its weights as trained are taken")


def test_an_ensemble_names_a_member_instead(tmp_path):
    (tmp_path / "ensemble.json").write_text("{}")
    (tmp_path / "members" / "cnn-1").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="is an ensemble; expected a single network, .*members/cnn-1$"):
        open_source(str(tmp_path), print)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nothing", "nothing does not exist"),
        ("", "has no folder 'checkpoints'"),
        ("5", "checkpoint 5 in .* is not there"),
        ("empty", "no usable checkpoint in .*empty/checkpoints"),
    ],
)
def test_a_folder_without_a_network_is_named(tmp_path, path, reason):
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=f"^init.run: .*{reason}.*; expected the folder of a run or"):
        open_source(str(tmp_path / path), print)
