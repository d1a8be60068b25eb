"""The devices of a run and how arrays are spread over them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from mnist_jax.errors import RunError
from mnist_jax.runtime.distributed import PEER_LOST, is_peer_failure


@dataclass(frozen=True)
class Layout:
    """Where arrays live: the same everywhere, or a batch cut over the devices."""

    replicated: NamedSharding  # for parameters, statistics, keys and data sets
    # For the leading axis of a batch; None on a single device, where nothing is cut.
    batch: NamedSharding | None
    platform: str  # ``cpu``, ``gpu`` or ``tpu``
    num_devices: int  # devices of all processes

    def replicate(self, tree: PyTree) -> PyTree:
        """Puts each complete array on every device.

        Args:
            tree: arrays of the host or of one device, typed keys among them; equal in all processes.
        """
        if self.replicated.is_fully_addressable:
            return jax.device_put(tree, self.replicated)
        return jax.tree.map(self._replicate_globally, tree)

    def _replicate_globally(self, leaf: Any) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = self._replicate_globally(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        host = np.asarray(leaf)
        # `device_put` would compare all of it between the processes first.
        return jax.make_array_from_callback(host.shape, self.replicated, lambda index: host[index])


def make_layout() -> Layout:
    """Puts all devices of JAX' platform on one axis named ``data``.

    Raises:
        RunError: where the platform that was asked for (``JAX_PLATFORMS``) is not there.
    """
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:
        # JAX without CUDA's plugin says nothing at all where JAX_PLATFORMS=cuda.
        asked_for = f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')} is not there"
        reason = (str(error).strip() or asked_for).splitlines()[0]
        raise RunError(
            f"no device to run on: {reason}; expected JAX_PLATFORMS unset or a platform that this machine "
            "and the installed JAX have"
        ) from None
    mesh = Mesh(np.array(devices), ("data",))
    return Layout(
        replicated=NamedSharding(mesh, PartitionSpec()),
        batch=NamedSharding(mesh, PartitionSpec("data")) if len(devices) > 1 else None,
        platform=devices[0].platform,
        num_devices=len(devices),
    )


@contextmanager
def device_faults(advice: str) -> Iterator[None]:
    """Turns a device's own fault, such as memory that runs out, or the loss of another process into one line.

    The line says what to try, such as ``"a smaller batch_size"``.

    Raises:
        RunError: in place of ``jax.errors.JaxRuntimeError``, and of what collectives raise.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if is_peer_failure(error):
            raise RunError(PEER_LOST) from error
        if not isinstance(error, jax.errors.JaxRuntimeError):
            raise
        reason = str(error).strip().splitlines()[0]
        if "RESOURCE_EXHAUSTED" in reason or "out of memory" in reason.lower():
            raise RunError(
                f"the device ran out of memory ({reason[:200]}); expected to fit: try {advice}"
            ) from error
        raise RunError(f"the device failed: {reason[:300]}") from error
