"""What a training step costs in communication, and the efficiency that follows: docs/scaling.md in numbers.

    python -m benchmarks.scaling

Counts the collectives of the compiled step on virtual devices, and predicts from them with the formulas and
assumptions of docs/scaling.md. Nothing is timed: eight virtual devices share the cores of one machine.
"""

import itertools
import math
import os
import re
import sys
from dataclasses import dataclass

from mnist_jax import cli

COMMAND = cli.Command(
    "python -m benchmarks.scaling",
    "Counts what a training step sends between virtual devices, and predicts the efficiency of many.",
    (),
)

GRADIENT_BYTES = 4 * 596_330
# Two sums a feature of five BatchNorms, forward; those of the gradient are as many again.
BATCH_NORM_BYTES = 4 * 2 * (32 + 32 + 64 + 64 + 512)
FLOPS_PER_IMAGE = 61e6

_BYTES = {"f32": 4, "s32": 4, "u32": 4, "f64": 8, "bf16": 2, "pred": 1, "u8": 1}
_COLLECTIVE = re.compile(
    r"= (?P<types>.*?) "
    r"(?P<kind>all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(-start)?\("
)


@dataclass(frozen=True)
class Machine:
    """Assumptions about a device and what connects it to the others.

    Attributes:
        name: of the kind of machine.
        flops: that this network's step reaches on one device, operations a second.
        step_seconds: of a step whatever its batch: kernels started one after another.
        latency_seconds: of one small all-reduce among the devices of one node.
        hop_seconds: added for each doubling beyond a node.
        bytes_per_second: each device can send while it receives as many, beyond its node.
        node: devices of one node.
        num_collectives: all-reduces a step, one after another.
    """

    name: str
    flops: float
    step_seconds: float
    latency_seconds: float
    hop_seconds: float
    bytes_per_second: float
    node: int
    num_collectives: int


H100 = Machine("H100, 8 a node, 400 Gb/s of InfiniBand each", 20e12, 0.4e-3, 12e-6, 6e-6, 40e9, 8, 12)
ETHERNET = Machine("CPU nodes, 8 cores each, 25 Gb/s Ethernet", 0.5e12, 0.1e-3, 60e-6, 25e-6, 2.5e9, 1, 10)


def collectives(hlo: str) -> list[tuple[str, int]]:
    """Kind and bytes of each collective in a compiled program's text; one in a loop's body counts once."""
    found = []
    for match in _COLLECTIVE.finditer(hlo):
        arrays = re.findall(r"\b([a-z]+\d+|pred)\[([\d,]*)\]", match["types"])
        size = sum(_BYTES[t] * math.prod(int(n) for n in shape.split(",") if n) for t, shape in arrays)
        found.append((match["kind"], size))
    return found


def step_seconds(machine: Machine, devices: int, batch_size: int) -> float:
    """Seconds of a step of ``batch_size`` images over all devices: computing, latencies, bytes.

    The collectives wait for each other (each BatchNorm for the one before, the gradients for all), so nothing
    of them is taken to be hidden behind computing.
    """
    computing = machine.step_seconds + FLOPS_PER_IMAGE * batch_size / devices / machine.flops
    if devices == 1:
        return computing
    latency = machine.latency_seconds + machine.hop_seconds * max(0, math.log2(devices / machine.node))
    sent = 2 * (devices - 1) / devices * (GRADIENT_BYTES + 2 * BATCH_NORM_BYTES)
    return computing + machine.num_collectives * latency + sent / machine.bytes_per_second


def efficiency(machine: Machine, devices: int, batch_size: int, *, fixed_global: bool) -> float:
    """Images a second of ``devices`` over ``devices`` times those of one.

    Args:
        machine: the assumptions.
        devices: how many.
        batch_size: of all devices together (``fixed_global``), or of each.
        fixed_global: which of the two stays as it is when devices are added.
    """
    alone = step_seconds(machine, 1, batch_size) / batch_size
    whole = batch_size if fixed_global else batch_size * devices
    return alone * whole / (step_seconds(machine, devices, whole) * devices)


# How convolutions are lowered on each, and with them how a step is spread over devices.
PLATFORMS = {"gemm": "cpu", "fused": "gpu", "lax": "tpu"}


def compiled_step(devices: int, conv: str = "gemm") -> str:
    """The compiled program of the default network's steps at batch 64 on the first devices, as text.

    Args:
        devices: how many.
        conv: how convolutions are lowered: a key of ``PLATFORMS``, and all else as for that platform.
    """
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from mnist_jax.config.check import check, default_config
    from mnist_jax.run.experiment import build_experiment
    from mnist_jax.runtime.devices import Layout

    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    batch = NamedSharding(mesh, PartitionSpec("data")) if devices > 1 else None
    config = default_config()
    config.model.conv = conv
    experiment = build_experiment(
        check(config),
        Layout(everywhere, batch, PLATFORMS[conv], devices),
        image_shape=(28, 28, 1),
        class_names=tuple("0123456789"),
        num_train=60_000,
    )
    target = experiment.abstract_checkpoint()
    arrays = (
        jax.ShapeDtypeStruct((60_000, 28, 28, 1), np.uint8, sharding=everywhere),
        jax.ShapeDtypeStruct((60_000,), np.int32, sharding=everywhere),
    )
    keys = jax.tree.map(
        lambda key: jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=everywhere), experiment.keys
    )
    arguments = (target["state"], target["log"], *arrays, keys)
    if experiment.layout.platform == "cpu":
        lowered = experiment.jit_train_steps().lower(*arguments, jax.ShapeDtypeStruct((), np.int32))
    else:
        lowered = experiment.jit_train_steps().lower(*arguments, num_steps=1)
    return lowered.compile().as_text()


def main(arguments: cli.Arguments) -> int:
    """Prints the collectives of a step and the predicted efficiencies."""
    del arguments
    print("devices  lowered as  collectives a step  bytes of an all-reduce's arrays")
    for devices, conv in itertools.product((1, 2, 8), ("gemm", "lax")):
        found = collectives(compiled_step(devices, conv))
        kinds = sorted({kind for kind, _ in found}) or ["none"]
        size = sum(size for _, size in found)
        print(f"{devices:7}  {conv:10}  {len(found):3} ({', '.join(kinds)})  {size:,}")
    for machine in (H100, ETHERNET):
        print(f"\n{machine.name}\n  images a step        8 devices  64 devices  512 devices")
        for text, batch, fixed in (
            ("64 in all", 64, True),
            ("4,096 in all", 4096, True),
            ("64 a device", 64, False),
            ("1,024 a device", 1024, False),
        ):
            cells = [
                f"{efficiency(machine, n, batch, fixed_global=fixed):11.1%}"
                if not fixed or batch >= n
                else f"{'-':>11}"
                for n in (8, 64, 512)
            ]
            print(f"  {text:16}" + "".join(cells))
    return 0


if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
    )
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(cli.run_main(main, COMMAND))
