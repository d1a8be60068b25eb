"""Whatever the optimizer: a checkpoint in the middle changes no bit, and members are as if alone."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mnist_jax.checkpoints.manager import Checkpoints
from mnist_jax.config.optimizers import OPTIMIZERS
from mnist_jax.data import Dataset
from mnist_jax.run.experiment import experiment_for
from mnist_jax.runtime.devices import Layout
from mnist_jax.studies.vmapped_steps import (
    jit_member_steps,
    member_mesh,
    place_members,
    place_shared,
    stack_members,
    take_member,
)
from mnist_jax.training.epoch import RunKeys
from mnist_jax.training.epoch_log import EpochLog
from tests.run.test_experiment import make_config
from tests.states import create_train_state
from tests.trees import assert_close, assert_same_bits, same_bits

RATES = {"sgd": 0.1, "lion": 1e-3, "prodigy": 1.0}
# The checkpoint is in the second epoch, and between two updates where there is one every two batches.
BEFORE, AFTER = 11, 7


ACCUMULATED = "muon, clipped and accumulated"
# The two whose states are most unlike Adam's are tried always; each takes seconds to compile.
ALWAYS = {"schedule_free_adamw", ACCUMULATED}
NAMES = [
    name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow)
    for name in (*OPTIMIZERS, ACCUMULATED)
]


@pytest.fixture(scope="module", params=NAMES)
def experiment(request, tiny_perceptron, tiny_data):
    """Three epochs of ten batches, on one device; and the images."""
    name, _, more = request.param.partition(", ")
    options = {"optim__name": name, "optim__learning_rate": RATES.get(name, 1e-2)}
    if name != "schedule_free_adamw":
        options |= {"optim__schedule": "one_cycle", "optim__ema_fraction": 0.2}
    if more:
        options |= {"optim__clip_norm": 1.0, "optim__accumulation_steps": 2}
    train = Dataset(*tiny_data, "tiny", "made here", "0" * 64, ("bar", "dot", "ring"))
    whole = NamedSharding(Mesh(np.array(jax.devices()[:1]), ("data",)), PartitionSpec())
    layout = Layout(whole, None, "cpu", 1)
    return experiment_for(make_config(**options), layout, train, model=tiny_perceptron), train


def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(experiment, tmp_path):
    experiment, train = experiment
    steps = experiment.compiled_steps(train)
    start = experiment.create_state()
    before = jax.tree.map(np.asarray, (start.params, start.opt_state))
    state, log, _ = steps.run(start, experiment.create_log(), BEFORE)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(BEFORE, {"state": state, "log": log}, {})
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        restored, _ = checkpoints.restore("latest", experiment.abstract_checkpoint())
    assert_same_bits(restored["state"], state)
    straight, straight_log, _ = steps.run(state, log, AFTER)
    resumed, resumed_log, _ = steps.run(restored["state"], restored["log"], AFTER)
    assert_same_bits((resumed, resumed_log), (straight, straight_log))
    assert int(resumed.step) == BEFORE + AFTER
    assert not same_bits((resumed.params, resumed.opt_state), before)
    assert_same_bits(resumed.eval_variables(), straight.eval_variables())


@pytest.mark.slow
def test_members_side_by_side_are_those_of_single_runs(experiment):
    experiment, train = experiment
    mesh, seeds = member_mesh(2, jax.devices()[:1]), (3, 4)

    def create(seed):
        keys = RunKeys.from_seed(seed)
        use_ema = experiment.config.optim.ema_fraction > 0
        state = create_train_state(
            keys.params, experiment.model, experiment.image_shape, experiment.tx, use_ema=use_ema
        )
        return state, EpochLog.empty(experiment.steps_per_epoch), keys

    trees = [stack_members(list(trees)) for trees in zip(*map(create, seeds), strict=True)]
    states, logs, keys = place_members(tuple(trees), mesh)
    data = place_shared((train.images, train.labels), mesh)
    together = jit_member_steps(experiment.make_train_steps(None), mesh, static_length=False)
    states, logs = together(states, logs, *data, keys, np.int32(AFTER))
    alone, ends = experiment.jit_train_steps(), []
    for index, seed in enumerate(seeds):
        state, log, keys = create(seed)
        state, log = alone(state, log, *map(jax.numpy.asarray, data), keys, np.int32(AFTER))
        member, member_log = take_member(states, index), take_member(logs, index)
        for name in ("params", "batch_stats", "ema"):
            assert_close(getattr(member, name), getattr(state, name), rtol=1e-3, atol=1e-5)
        assert_close(member.eval_variables(), state.eval_variables(), rtol=1e-3, atol=1e-5)
        assert_close(member_log.loss_sum, log.loss_sum, rtol=1e-4)
        ends.append(state.params)
    assert not same_bits(*ends)
