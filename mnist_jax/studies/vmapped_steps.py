"""Several members trained by one compiled program, each as if it were alone.

The data stay on the device once, shared by all; each member has its own state, log and random streams. On
several devices the members are spread over them, and no device waits for another; where there are more
devices than members, several devices share each member's batch (a mesh of two axes, ``member`` and ``data``).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from mnist_jax.training.epoch import RunKeys
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.state import TrainState

_AXIS = "member"
_DATA_AXIS = "data"


def stack_members(trees: Sequence[PyTree]) -> PyTree:
    """Puts pytrees of one structure together: each leaf ``[...]`` becomes ``[members, ...]``."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def take_member(stacked: PyTree, index: int) -> PyTree:
    """Takes one member's pytree out of what `stack_members` made."""
    return jax.tree.map(lambda leaf: leaf[index], stacked)


def member_mesh(
    num_members: int, devices: Sequence[jax.Device] | None = None, batch_size: int | None = None
) -> Mesh:
    """Chooses the devices that members are spread over: as many as share the work evenly.

    Of equally many, members apart come before shared batches, for they need nothing of each other. Without a
    ``batch_size``, the images a step of each member, batches are not shared.

    Returns:
        a mesh with the axes ``member`` and ``data``.
    """
    devices = jax.devices() if devices is None else devices
    shapes = [
        (members, shares)
        for members in range(1, min(num_members, len(devices)) + 1)
        for shares in range(1, len(devices) // members + 1)
        if num_members % members == 0 and (batch_size or 1) % shares == 0
    ]
    members, shares = max(shapes, key=lambda shape: (shape[0] * shape[1], shape[0]))
    return Mesh(np.array(devices[: members * shares]).reshape(members, shares), (_AXIS, _DATA_AXIS))


def batch_sharding(mesh: Mesh) -> NamedSharding | None:
    """How the devices of a member share its batch; None where each has a single one."""
    return NamedSharding(mesh, PartitionSpec(_DATA_AXIS)) if mesh.shape[_DATA_AXIS] > 1 else None


def place_members(stacked: PyTree, mesh: Mesh) -> PyTree:
    """Spreads what `stack_members` made over the devices of a mesh."""
    return jax.device_put(stacked, NamedSharding(mesh, PartitionSpec(_AXIS)))


def place_shared(tree: PyTree, mesh: Mesh) -> PyTree:
    """Puts a complete copy, such as the data set, on each device of a mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def jit_member_steps(
    run_steps: Callable[..., tuple[TrainState, EpochLog]], mesh: Mesh, *, static_length: bool = True
) -> Callable[..., tuple[TrainState, EpochLog]]:
    """Compiles ``run(states, logs, images, labels, keys, num_steps) -> (states, logs)``.

    Member ``i`` gets what ``run_steps`` gives for its state, log and keys, up to the rounding of products
    that are done for several members at once; one that has a device to itself gets the same bits. ``states``
    and ``logs`` are donated. ``run_steps`` is made by ``epoch.make_train_steps`` with `batch_sharding` of the
    mesh, whose axis ``member`` has to divide the number of members.
    """
    each, shared = PartitionSpec(_AXIS), PartitionSpec()
    shared_batches = batch_sharding(mesh) is not None

    def together(run_one: Callable[..., Any], states: Any, logs: Any, keys: RunKeys, *data: Any) -> Any:
        one = functools.partial(_run_with_data, run_one, data)
        if keys.shuffle.shape == (1,):
            # Not one of several: on a CPU the products of a batch of one are not those of an ordinary run.
            return stack_members([one(*take_member((states, logs, keys), 0))])
        return jax.vmap(one, spmd_axis_name=_AXIS if shared_batches else None)(states, logs, keys)

    def run(
        states: TrainState,
        logs: EpochLog,
        images: Array,
        labels: Array,
        keys: RunKeys,
        num_steps: int | Array,
    ) -> tuple[TrainState, EpochLog]:
        run_one: Callable[..., Any] = run_steps
        data: tuple[Any, ...] = (images, labels, num_steps)
        if static_length:
            run_one, data = functools.partial(run_steps, num_steps=num_steps), (images, labels)
        work: Callable[..., Any] = functools.partial(together, run_one)
        if mesh.size > 1 and not shared_batches:
            # Not left to the compiler: nothing here needs another device, so nothing is to travel.
            work = jax.shard_map(
                work,
                mesh=mesh,
                in_specs=(each, each, each, *(shared for _ in data)),
                out_specs=(each, each),
                check_vma=False,
            )
        return work(states, logs, keys, *data)

    options: dict[str, Any] = {"static_argnames": "num_steps"} if static_length else {}
    if shared_batches:
        options["out_shardings"] = NamedSharding(mesh, each)
    return jax.jit(run, donate_argnames=("states", "logs"), **options)


def _run_with_data(
    run_one: Callable[..., Any], data: tuple[Any, ...], state: TrainState, log: EpochLog, keys: RunKeys
) -> Any:
    return run_one(state, log, *data[:2], keys, *data[2:])
