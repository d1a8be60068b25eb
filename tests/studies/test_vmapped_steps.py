"""Members side by side: each as if it were alone, wherever it is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.studies.vmapped_steps import (
    batch_sharding,
    jit_member_steps,
    member_mesh,
    place_members,
    place_shared,
    stack_members,
    take_member,
)
from mnist_jax.training.data_parallel import share_batch
from mnist_jax.training.epoch import RunKeys, jit_train_steps, make_train_steps
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.optimizer import create_optimizer
from mnist_jax.training.step import train_step
from tests.conftest import TINY_IMAGE_SHAPE
from tests.states import create_train_state

BATCH, STEPS = 16, 5


def add_noise(key, images):
    """Quickly compiled, and different for each key."""
    return images + 0.1 * jax.random.normal(key, images.shape)


@pytest.fixture(scope="module")
def setting(tiny_model, tiny_data):
    """Gives `(make_run, create)`: the steps of a run, and state, log and keys of a seed."""
    tx = create_optimizer(1e-2)
    num_examples = len(tiny_data[1])
    step = functools.partial(train_step, augment_fn=add_noise, label_smoothing=0.1, ema_decay=0.9)

    def make_run(static, sharding=None, share=False):
        make = jit_train_steps if sharding is None else make_train_steps
        sizes = {"batch_size": BATCH, "num_examples": num_examples}
        one_step = functools.partial(step, share_batch=share_batch(sharding if share else None))
        return make(one_step, **sizes, batch_sharding=sharding, static_length=static)

    def create(seed):
        keys = RunKeys.from_seed(seed)
        state = create_train_state(keys.params, tiny_model, TINY_IMAGE_SHAPE, tx, use_ema=True)
        return state, EpochLog.empty(num_examples // BATCH), keys

    return make_run, create


def run_together(setting, seeds, data, mesh, static, share=False):
    make_run, create = setting
    states, logs, keys = (stack_members(list(trees)) for trees in zip(*map(create, seeds), strict=True))
    states, logs, keys = place_members((states, logs, keys), mesh)
    run = jit_member_steps(make_run(static, batch_sharding(mesh), share), mesh, static_length=static)
    return run(states, logs, *place_shared(data, mesh), keys, STEPS if static else np.int32(STEPS))


@pytest.fixture(scope="module")
def alone(setting, tiny_data):
    """Seeds 3, 4 and 5, one after another, by the program of an ordinary run."""
    make_run, create = setting
    run, results = make_run(False), []
    for seed in (3, 4, 5):
        state, log, keys = create(seed)
        state, log = run(state, log, *map(jnp.asarray, tiny_data), keys, np.int32(STEPS))
        results.append((state, log))
    return results


def assert_close(actual, expected):
    """Equal up to rounding, but for the biases in front of BatchNorm and the means that follow them.

    Their gradients are nothing but rounding, and Adam makes steps of any gradient.
    """
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        name = jax.tree_util.keystr(path)
        drifts = name.endswith("['mean']") or (
            name.endswith("['bias']") and ("conv" in name or "'dense'" in name)
        )
        if not drifts:
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_member_equals_its_single_run(setting, alone, tiny_data):
    mesh = member_mesh(3, jax.devices()[:1])
    states, logs = run_together(setting, (3, 4, 5), tiny_data, mesh, static=False)
    for index, (state, log) in enumerate(alone):
        member = take_member(states, index)
        assert int(member.step) == STEPS
        assert_close(
            (member.params, member.batch_stats, member.ema), (state.params, state.batch_stats, state.ema)
        )
        assert_close(take_member(logs, index).loss_sum, log.loss_sum)
    losses = np.asarray(logs.loss_sum)
    assert len(np.unique(losses[:, 0])) == 3


def test_a_member_by_itself_is_its_single_run_bit_for_bit(setting, alone, tiny_data):
    mesh = member_mesh(1, jax.devices()[:1])
    for seed, (state, log) in zip((3, 4), alone, strict=False):
        states, logs = run_together(setting, (seed,), tiny_data, mesh, static=False)
        member, member_log = take_member((states, logs), 0)
        for ours, expected in (
            (member.params, state.params),
            (member.batch_stats, state.batch_stats),
            (member.ema, state.ema),
            (member.opt_state, state.opt_state),
            (member_log, log),
        ):
            jax.tree.map(np.testing.assert_array_equal, ours, expected)


def test_members_spread_over_devices_are_the_same_members(setting, alone, tiny_data):
    mesh = member_mesh(3)
    assert mesh.size == 3
    states, _ = run_together(setting, (3, 4, 5), tiny_data, mesh, static=True)
    kernel = states.params["conv0"]["kernel"]
    assert len(kernel.sharding.device_set) == 3
    assert {shard.data.shape[0] for shard in kernel.addressable_shards} == {1}
    for index, (state, _) in enumerate(alone):
        assert_close(take_member(states, index).params, state.params)


@pytest.mark.parametrize(("members", "devices"), [(1, 1), (3, 3), (8, 8), (16, 8), (12, 6), (11, 1)])
def test_the_devices_share_the_members_evenly(members, devices):
    assert member_mesh(members).size == devices


def test_stacking_and_taking_are_inverse():
    trees = [{"a": jnp.arange(3) + i, "b": (jnp.float32(i),)} for i in range(4)]
    stacked = stack_members(trees)
    assert stacked["a"].shape == (4, 3)
    for i, tree in enumerate(trees):
        assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), take_member(stacked, i), tree))


@pytest.mark.parametrize("share", [False, True])
def test_devices_share_a_members_batch_where_there_are_more_of_them(setting, alone, tiny_data, share):
    """2 members x 4 devices each: what a member computes does not change, wherever its batch is.

    Nor who spreads it: the compiler, or `share_batch` as on a CPU.
    """
    mesh = member_mesh(2, batch_size=BATCH)
    assert dict(mesh.shape) == {"member": 2, "data": 4}
    states, logs = run_together(setting, (3, 4), tiny_data, mesh, static=False, share=share)
    kernel = states.params["conv0"]["kernel"]
    assert {(shard.device.id, shard.index[0].start) for shard in kernel.addressable_shards} == {
        (device.id, None if member is None else member)
        for member, row in enumerate(mesh.devices)
        for device in row
    }
    for index, (state, log) in enumerate(alone[:2]):
        member = take_member(states, index)
        assert_close(
            (member.params, member.batch_stats, member.ema), (state.params, state.batch_stats, state.ema)
        )
        assert_close(take_member(logs, index).loss_sum, log.loss_sum)


def test_devices_share_the_batch_of_a_single_member(setting, alone, tiny_data):
    mesh = member_mesh(1, batch_size=BATCH)
    assert dict(mesh.shape) == {"member": 1, "data": 8}
    states, logs = run_together(setting, (3,), tiny_data, mesh, static=False, share=True)
    (state, log), member = alone[0], take_member(states, 0)
    assert_close((member.params, member.ema), (state.params, state.ema))
    assert_close(take_member(logs, 0).loss_sum, log.loss_sum)


@pytest.mark.parametrize(
    ("members", "batch_size", "shape"),
    [
        (1, 16, (1, 8)),
        (2, 16, (2, 4)),
        (3, 16, (1, 8)),
        (3, 2, (3, 2)),
        (8, 16, (8, 1)),
        (5, 6, (1, 6)),
        (4, 5, (1, 5)),
        (4, 3, (2, 3)),
    ],
)
def test_a_mesh_uses_as_many_devices_as_share_the_work_evenly(members, batch_size, shape):
    assert member_mesh(members, batch_size=batch_size).devices.shape == shape
