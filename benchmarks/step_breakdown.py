"""``python -m benchmarks.step_breakdown``: where the time of a training step goes."""

import sys
from typing import Any

from benchmarks.result_files import OUTPUT_FLAGS, commit_of, make_result, with_default_config, write_result
from mnist_jax import cli

COMMAND = cli.Command(
    "python -m benchmarks.step_breakdown",
    "Traces training steps of a configuration with jax.profiler and adds the time of every instruction of\n"
    "the compiled program to one kind of work. --config is configs/default.py where it is left out.",
    (
        cli.Flag("steps", 20, "steps to trace", at_least=1, at_most=1000, metavar="N"),
        cli.Flag("top", 0, "also list that many single instructions", at_least=0, metavar="N"),
        *OUTPUT_FLAGS,
    ),
    takes_config=True,
)

_NUM_EXAMPLES = 6400


def main(arguments: cli.Arguments) -> int:
    """Traces, prints the table, and writes what was asked for."""
    from benchmarks.contenders import Work
    from benchmarks.instructions import KINDS
    from mnist_jax.config.automatic import resolve
    from mnist_jax.runtime.environment import collect_versions, describe_device

    config, _ = resolve(arguments.config, Work().num_examples)
    seconds_per_step, instructions = trace_steps(config, arguments["steps"])
    figures: dict[str, Any] = {
        "seconds_per_step": seconds_per_step,
        "milliseconds_by_kind": {
            kind: sum(i["milliseconds"] for i in instructions if i["kind"] == kind) for kind in KINDS
        },
        "instructions": instructions[: max(arguments["top"], 20)],
    }
    device = str(describe_device()["device"])
    settings = {"config_file": arguments.config_file, "steps": arguments["steps"]}
    result = make_result("step_breakdown", device, settings, figures, collect_versions())
    print(table(result, arguments["top"]))
    write_result(result, arguments["json"], arguments["keep"])
    if arguments["plot"]:
        from benchmarks.plots import plot_shares

        by_kind = figures["milliseconds_by_kind"]
        plot_shares(list(by_kind), list(by_kind.values()), arguments["plot"])
    return 0


def trace_steps(config: Any, num_steps: int) -> tuple[float, list[dict[str, Any]]]:
    """Runs traced steps of a configuration on random images of MNIST's shape.

    Returns:
        seconds a step without tracing, and the instructions, the costliest first, each with ``name``,
        ``kind``, ``milliseconds`` a step and ``operation``.

    Raises:
        RunError: the trace names no instruction of the program.
    """
    import time

    from benchmarks.contenders import Work
    from benchmarks.contenders.ours import Steps
    from benchmarks.instructions import describe_instructions, name_parts, traced_milliseconds
    from mnist_jax.errors import RunError
    from mnist_jax.run.experiment import build_experiment
    from mnist_jax.runtime.devices import make_layout

    work = Work(config.batch_size, num_examples=max(_NUM_EXAMPLES, config.batch_size * num_steps))
    experiment = build_experiment(
        config,
        make_layout(),
        image_shape=(28, 28, 1),
        class_names=tuple("0123456789"),
        num_train=work.num_examples,
    )
    steps = Steps(name_parts(experiment), work.images(), work.labels())
    program = steps.program(num_steps)
    steps.run(num_steps)
    started = time.perf_counter()
    steps.run(num_steps)
    seconds = (time.perf_counter() - started) / num_steps
    described = describe_instructions(program.as_text())
    milliseconds = traced_milliseconds(lambda: steps.run(num_steps))
    instructions = [
        {"name": name, **described[name], "milliseconds": total / num_steps}
        for name, total in sorted(milliseconds.items(), key=lambda item: -item[1])
        if name in described
    ]
    if not instructions:
        raise RunError("the trace names no instruction of the program; expected a device that reports them")
    return seconds, instructions


def table(result: dict[str, Any], top: int) -> str:
    """Lays a result out as text."""
    by_kind = result["milliseconds_by_kind"]
    total = sum(by_kind.values())
    lines = [
        f"{result['device']}; {result['settings']['config_file']}; "
        f"{result['seconds_per_step'] * 1e3:.1f} ms a step untraced; commit "
        f"{commit_of(result)}",
        f"{'':34}{'ms a step':>10}{'share':>8}",
    ]
    for kind, milliseconds in sorted(by_kind.items(), key=lambda item: -item[1]):
        lines.append(f"{kind:34}{milliseconds:>10.2f}{milliseconds / total:>8.0%}")
    lines.append(f"{'all instructions':34}{total:>10.2f}")
    for instruction in result["instructions"][:top]:
        lines.append(
            f"{instruction['milliseconds']:>9.3f} ms  {instruction['kind']:32} {instruction['name']:32} "
            f"{instruction['operation']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    words = with_default_config(sys.argv[1:], "configs/default.py")
    sys.exit(cli.run_main(main, COMMAND, words))
