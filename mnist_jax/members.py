"""Several members trained by one compiled program, each as if it were alone (floor 3).

The data stay on the device once, shared by all; each member has its own state, log and random streams. On
several devices the members are spread over them, and no device waits for another.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from mnist_jax.epoch import EpochLog, StreamKeys
from mnist_jax.state import TrainState

_AXIS = "member"


def stack_members(trees: Sequence[PyTree]) -> PyTree:
    """Puts pytrees of one structure together: each leaf ``[...]`` becomes ``[members, ...]``."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def take_member(stacked: PyTree, index: int) -> PyTree:
    """Takes one member's pytree out of what `stack_members` made."""
    return jax.tree.map(lambda leaf: leaf[index], stacked)


def member_mesh(num_members: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Chooses the devices that members are spread over: as many as share them evenly.

    Args:
        num_members: members side by side.
        devices: those there are; by default all of JAX' platform.

    Returns:
        a mesh with the single axis ``member``.
    """
    devices = jax.devices() if devices is None else devices
    count = next(n for n in range(min(num_members, len(devices)), 0, -1) if num_members % n == 0)
    return Mesh(np.array(devices[:count]), (_AXIS,))


def place_members(stacked: PyTree, mesh: Mesh) -> PyTree:
    """Spreads what `stack_members` made over the devices of a mesh."""
    return jax.device_put(stacked, NamedSharding(mesh, PartitionSpec(_AXIS)))


def place_shared(tree: PyTree, mesh: Mesh) -> PyTree:
    """Puts a whole copy, such as the data set, on each device of a mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def make_member_steps(
    run_steps: Callable[..., tuple[TrainState, EpochLog]], mesh: Mesh, *, static_length: bool = True
) -> Callable[..., tuple[TrainState, EpochLog]]:
    """Compiles ``run(states, logs, images, labels, keys, num_steps) -> (states, logs)``.

    Member ``i`` gets what ``run_steps`` gives for its state, log and keys, up to the rounding of products
    that are done for all members at once. ``states`` and ``logs`` are donated.

    Args:
        run_steps: as ``epoch.make_train_steps`` makes it, for batches that are not spread over devices.
        mesh: the devices, see `member_mesh`; it has to divide the number of members.
        static_length: as given to ``epoch.make_train_steps``.
    """
    each, shared = PartitionSpec(_AXIS), PartitionSpec()

    def together(run_one: Callable[..., Any], states: Any, logs: Any, keys: StreamKeys, *data: Any) -> Any:
        return jax.vmap(lambda state, log, key: run_one(state, log, *data[:2], key, *data[2:]))(
            states, logs, keys
        )

    def run(
        states: TrainState,
        logs: EpochLog,
        images: Array,
        labels: Array,
        keys: StreamKeys,
        num_steps: int | Array,
    ) -> tuple[TrainState, EpochLog]:
        run_one: Callable[..., Any] = run_steps
        data: tuple[Any, ...] = (images, labels, num_steps)
        if static_length:
            run_one, data = functools.partial(run_steps, num_steps=num_steps), (images, labels)
        work: Callable[..., Any] = functools.partial(together, run_one)
        if mesh.size > 1:
            # Not left to the compiler: nothing here needs another device, so nothing is to travel.
            work = jax.shard_map(
                work,
                mesh=mesh,
                in_specs=(each, each, each, *(shared for _ in data)),
                out_specs=(each, each),
                check_vma=False,
            )
        return work(states, logs, keys, *data)

    static = ("num_steps",) if static_length else ()
    return jax.jit(run, donate_argnames=("states", "logs"), static_argnames=static)
