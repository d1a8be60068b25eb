"""``python -m benchmarks.compile_for``: the training program for an accelerator that is not there."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.absent_devices import TARGETS, absent_devices
from benchmarks.contenders import DTYPES
from benchmarks.result_files import JSON_FILE, RESULTS_DIR
from mnist_jax import cli
from mnist_jax.errors import ConfigError
from mnist_jax.storage.json_files import write_json_atomic

COMMAND = cli.Command(
    "python -m benchmarks.compile_for",
    "Compiles the program of one epoch of configs/default.py for an accelerator that need not be there, and\n"
    "counts what a step of it does. Nothing runs: time on the device and numbers are not known from this.",
    (
        cli.Flag("devices", 1, "devices that share a batch", choices=(1, 2, 4, 8), metavar="1|2|4|8"),
        cli.Flag("batch_size", 64, "images a step, over all devices", at_least=1, metavar="N"),
        cli.Flag("dtype", "float32", "how products are computed", choices=DTYPES, metavar="|".join(DTYPES)),
        cli.Flag("members", 0, "members trained side by side by one program; 0 = a single run", at_least=0),
        cli.Flag(
            "gpu_graph",
            "auto",
            "what a GPU's host launches at once: as XLA chooses, a step, or an epoch",
            choices=("auto", "step", "epoch"),
            metavar="auto|step|epoch",
        ),
        JSON_FILE,
        cli.Flag("keep", False, "also keep the counts in benchmarks/results/compiled/"),
    ),
    positional="h100|v5e|v6e",
    positional_description="the accelerator",
)

_NUM_TRAIN = 60_000


def main(arguments: cli.Arguments) -> int:
    """Compiles, counts, prints, and writes what was asked for."""
    if len(arguments.positional) != 1 or arguments.positional[0] not in TARGETS:
        given = " ".join(arguments.positional) or "nothing"
        raise ConfigError([f"expected one accelerator of {', '.join(TARGETS)}, got {given}"])
    target = arguments.positional[0]
    settings = {"target": target, **{name: arguments[name] for name in _SETTINGS}}
    result = compile_for(**settings)
    print(table(result))
    if arguments["json"]:
        write_json_atomic(arguments["json"], result)
    if arguments["keep"]:
        path = golden_file(settings)
        path.parent.mkdir(exist_ok=True)
        write_json_atomic(path, {"settings": settings, "counts": result["counts"]})
        print(f"kept as {path}")
    return 0


_SETTINGS = ("devices", "batch_size", "dtype", "members", "gpu_graph")


def golden_file(settings: dict[str, Any]) -> Path:
    """Where the counts of a program are kept."""
    parts = [
        f"{settings['target']}x{settings['devices']}",
        f"batch{settings['batch_size']}",
        settings["dtype"],
    ]
    if settings["members"]:
        parts.append(f"{settings['members']}members")
    if settings["gpu_graph"] != "auto":
        parts.append(settings["gpu_graph"])
    return RESULTS_DIR / "compiled" / f"{'-'.join(parts)}.json"


def compile_for(
    target: str, devices: int, batch_size: int, dtype: str, members: int, gpu_graph: str
) -> dict[str, Any]:
    """Compiles one epoch of the default configuration.

    Returns:
        ``settings``; ``counts``, which depend on the code and the versions of the compiler alone; ``seconds``
        of tracing and compiling and ``estimates``, which do not; ``versions``.

    Raises:
        RunError: a package is missing.
        ConfigError: the batch or the members do not divide over the devices.
    """
    settings = {
        "target": target,
        "devices": devices,
        "batch_size": batch_size,
        "dtype": dtype,
        "members": members,
        "gpu_graph": gpu_graph,
    }
    chips = absent_devices(target, devices)
    from mnist_jax.runtime.compilation import loop_options
    from mnist_jax.runtime.environment import collect_versions

    started = time.perf_counter()
    lowered, num_steps = _lower(chips, TARGETS[target].platform, batch_size, dtype, members)
    traced = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = loop_options(gpu_graph, TARGETS[target].platform)
        if TARGETS[target].platform == "gpu":
            # The other sort would ask the device how much scratch space it needs.
            options |= {"xla_gpu_enable_cub_radix_sort": False, **_dump_to(folder)}
        cpu_started = time.process_time()
        program = lowered.compile(compiler_options=options)
        cpu_seconds, compiled = time.process_time() - cpu_started, time.perf_counter()
        thunks = _read_thunks(Path(folder))

    counts, estimates = _count(program, thunks, num_steps, TARGETS[target].clock_ghz, batch_size, devices)
    return {
        "benchmark": "compile_for",
        "device": f"{chips[0].device_kind}, not there",
        "settings": settings,
        "counts": counts,
        "estimates": estimates,
        "seconds": {"trace": traced - started, "compile": compiled - traced, "compile_cpu": cpu_seconds},
        "versions": collect_versions(),
    }


def _lower(chips: Any, platform: str, batch_size: int, dtype: str, members: int) -> tuple[Any, int]:
    """Lowers the program of an epoch from shapes alone; returns it and its number of steps."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from benchmarks.instructions import name_parts
    from mnist_jax.config.check import check
    from mnist_jax.config.file import load_config_file
    from mnist_jax.run.experiment import build_experiment
    from mnist_jax.runtime.devices import Layout
    from mnist_jax.studies import vmapped_steps

    config = load_config_file("configs/default.py")
    config.batch_size, config.num_epochs, config.model.dtype = batch_size, 5, dtype
    shares = len(chips) > 1 and not members
    mesh = Mesh(np.array(chips), ("data",))
    layout = Layout(
        replicated=NamedSharding(mesh, PartitionSpec()),
        batch=NamedSharding(mesh, PartitionSpec("data")) if shares else None,
        platform=platform,
        num_devices=len(chips) if shares else 1,
    )
    experiment = name_parts(
        build_experiment(
            check(config),
            layout,
            image_shape=(28, 28, 1),
            class_names=tuple("0123456789"),
            num_train=_NUM_TRAIN,
        )
    )
    shared = layout.replicated
    each, leading, function = shared, (), experiment.jit_train_steps()
    if members:
        mesh = vmapped_steps.member_mesh(members, chips, batch_size)
        each, shared = NamedSharding(mesh, PartitionSpec("member")), NamedSharding(mesh, PartitionSpec())
        leading = (members,)
        run_steps = experiment.make_train_steps(vmapped_steps.batch_sharding(mesh))
        function = vmapped_steps.jit_member_steps(run_steps, mesh)
    tree = experiment.abstract_checkpoint()
    state, log, keys = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype, sharding=each),
        (tree["state"], tree["log"], experiment.keys),
    )
    images = jax.ShapeDtypeStruct((_NUM_TRAIN, 28, 28, 1), jnp.uint8, sharding=shared)
    labels = jax.ShapeDtypeStruct((_NUM_TRAIN,), jnp.int32, sharding=shared)
    num_steps = experiment.steps_per_epoch
    return function.lower(state, log, images, labels, keys, num_steps=num_steps), num_steps


def _dump_to(folder: str) -> dict[str, Any]:
    return {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}


def _read_thunks(folder: Path) -> str:
    """What the host launches, as XLA dumped it for a GPU; empty for a TPU."""
    for ending in ("thunk_sequence_after_thunk_passes.txt", "thunk_sequence.txt"):
        for path in folder.glob(f"*jit_run*.{ending}"):
            return path.read_text()
    return ""


def _count(
    program: Any, thunks: str, num_steps: int, clock_ghz: float, batch_size: int, devices: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Counts what is exact and, apart from it, what XLA estimates."""
    from benchmarks import compiled_program as read

    computations = read.read_computations(program.as_text())
    body, iterations = read.training_loop(computations)
    steps = max(1, num_steps // iterations)
    memory = program.memory_analysis()
    counts: dict[str, Any] = {
        "steps_per_iteration": steps,
        "argument_bytes": memory.argument_size_in_bytes,
        "scratch_bytes": memory.temp_size_in_bytes,
        "collectives": read.find_collectives(body),
    }
    estimates: dict[str, Any] = {}
    if thunks:
        launches = read.count_launches(thunks)
        counts |= {
            "kernels_per_step": len(read.working_instructions(body)) / steps,
            "launches_per_step": launches["per_iteration"] / steps,
            "launches_per_epoch": launches["per_iteration"] * iterations + launches["once"],
            "kernels_by_layer": read.kernels_by_layer(body),
        }
    else:
        cycles = sum(instruction.cycles or 0 for instruction in body) / steps
        counts["gathers_without_estimate"] = read.count_unpriced_gathers(body, computations)
        estimates = {
            "cycles_per_step": cycles,
            "microseconds_per_step": cycles / clock_ghz / 1e3,
            "images_per_second_per_chip": batch_size / devices / cycles * clock_ghz * 1e9,
            "cycles_by_layer": read.cycles_by_layer(body),
        }
    return counts, estimates


def table(result: dict[str, Any]) -> str:
    """Lays a result out as text."""
    settings, counts, estimates = result["settings"], result["counts"], result["estimates"]
    members = f", {settings['members']} members" if settings["members"] else ""
    lines = [
        f"{result['device']}, x{settings['devices']}; batch {settings['batch_size']}, {settings['dtype']}"
        f"{members}; jax {result['versions'].get('jax')}",
        f"traced in {result['seconds']['trace']:.1f} s, compiled in {result['seconds']['compile']:.1f} s "
        f"({result['seconds']['compile_cpu']:.1f} s of processor time); "
        f"{counts['argument_bytes'] / 1e6:.0f} MB of arguments, {counts['scratch_bytes'] / 1e6:.0f} MB of "
        "scratch",
    ]
    if "kernels_per_step" in counts:
        lines += [
            f"counted: {counts['kernels_per_step']:g} kernels a step in {counts['launches_per_step']:g} "
            f"launches by the host; {counts['launches_per_epoch']} launches an epoch",
            *_by_layer(counts["kernels_by_layer"], "kernels"),
        ]
    else:
        lines += [
            f"estimated: {estimates['cycles_per_step']:.0f} cycles a step, "
            f"{estimates['microseconds_per_step']:.0f} µs, "
            f"{estimates['images_per_second_per_chip'] / 1e3:.0f}k images/s a chip; counted: "
            f"{counts['gathers_without_estimate']} gathers that the estimate leaves out",
            *_by_layer(estimates["cycles_by_layer"], "cycles an iteration"),
        ]
    for collective in counts["collectives"]:
        lines.append(
            f"  {collective['kind']} of {'+'.join(collective['dtypes'])}, {collective['bytes']} bytes"
        )
    if counts["collectives"]:
        lines.append(f"counted: {len(counts['collectives'])} collectives an iteration")
    return "\n".join(lines)


def _by_layer(numbers: dict[str, int], unit: str) -> list[str]:
    return [f"{number:>12} {unit:20} {layer}" for layer, number in list(numbers.items())[:12]]


if __name__ == "__main__":
    sys.exit(cli.run_main(main, COMMAND))
