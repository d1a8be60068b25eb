"""Accelerators that are not there, to compile for: XLA needs a description of a device, not the device."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_jax.errors import RunError

# XLA's own description of the card, from openxla/xla (Apache-2.0).
H100_DESCRIPTION = Path(__file__).parent / "h100.txtpb"


@dataclass(frozen=True)
class Target:
    """A device to compile for.

    Attributes:
        platform: ``gpu`` or ``tpu``.
        packages: what has to be installed; an import name and its name for pip.
        topology: by the number of devices, as XLA names it.
        clock_ghz: of a TPU's core, which turns estimated cycles into time.
    """

    platform: str
    packages: tuple[tuple[str, str], ...]
    topology: dict[int, str]
    clock_ghz: float = 0.0


_CUDA = (("jax_plugins.xla_cuda13", "jax-cuda13-pjrt"), ("jax_cuda13_plugin", "jax-cuda13-plugin"))
_LIBTPU = (("libtpu", "libtpu"),)

TARGETS = {
    "h100": Target("gpu", _CUDA, {n: f"1x{n}x1" for n in (1, 2, 4, 8)}),
    "v5e": Target("tpu", _LIBTPU, {1: "v5e:2x2", 2: "v5e:2x2", 4: "v5e:2x2", 8: "v5e:2x4"}, 1.5),
    "v6e": Target("tpu", _LIBTPU, {1: "v6e:2x2", 2: "v6e:2x2", 4: "v6e:2x2", 8: "v6e:2x4"}, 1.75),
}


def missing_packages(name: str) -> list[str]:
    """Lists what pip has to install before programs can be compiled for a target."""
    return [package for module, package in TARGETS[name].packages if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def absent_devices(name: str, num_devices: int) -> Sequence[Any]:
    """Describes devices of a target to JAX; to be called before anything else uses JAX.

    Args:
        name: a key of ``TARGETS``.
        num_devices: 1, 2, 4 or 8.

    Raises:
        RunError: a package is missing, or this JAX cannot describe the device.
    """
    if missing := missing_packages(name):
        raise RunError(
            f"compiling for {name} needs packages that are not installed; expected: "
            f"pip install {' '.join(missing)}"
        )
    target = TARGETS[name]
    # The plugins look for their devices, and libtpu asks the cloud what machine this is, unless told.
    os.environ["JAX_PLATFORMS"] = "cpu"
    if target.platform == "tpu":
        os.environ["TPU_SKIP_MDS_QUERY"] = "1"
        os.environ["TPU_WORKER_HOSTNAMES"] = "localhost"
        os.environ["TPU_ACCELERATOR_TYPE"] = "v5litepod-4"
    from jax.experimental import topologies

    options: dict[str, Any] = {}
    if target.platform == "gpu":
        _name_cuda_without_a_gpu()
        options = {"target_config": H100_DESCRIPTION.read_text(), "topology": target.topology[num_devices]}
    topology = topologies.get_topology_desc(
        topology_name="h100" if target.platform == "gpu" else target.topology[num_devices],
        platform="cuda" if target.platform == "gpu" else "tpu",
        **options,
    )
    return topology.devices[:num_devices]


def _name_cuda_without_a_gpu() -> None:
    """Makes JAX resolve the platform ``gpu`` on a machine without one (jax issue 23971)."""
    from jax._src import xla_bridge

    resolve = xla_bridge.canonicalize_platform

    def canonicalize(platform: str) -> str:
        try:
            return resolve(platform)
        except RuntimeError:
            return "cuda"

    xla_bridge.canonicalize_platform = canonicalize
