"""``python -m benchmarks.accelerator``: all there is to measure on a device that is at hand for minutes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.machine import device_joules
from benchmarks.result_files import OUTPUT_FLAGS, choose, commit_of, make_result, write_result
from benchmarks.workers import ROOT
from mnist_jax import cli
from mnist_jax.errors import RunError
from mnist_jax.storage.json_files import write_json_atomic

COMMAND = cli.Command(
    "python -m benchmarks.accelerator",
    "Measures everything on the device at hand: correctness, steps, peers, time to accuracy, members side\n"
    "by side, a profile, energy where NVML tells. Each stage leaves its result in --workdir at once; the\n"
    "same command goes on with the stages that are missing. Stages that --minutes leaves no time for are\n"
    "left out, and what is not installed is named.",
    (
        cli.Flag("minutes", 10.0, "time for all of it", more_than=0, metavar="M"),
        cli.Flag(
            "workdir", "runs/accelerator", "folder of the stages' results", non_empty=True, metavar="DIR"
        ),
        cli.Flag("small", False, "tiny work, to see on any machine that everything runs"),
        cli.Flag("only", "", "stages by name, with commas", metavar="A,B"),
        *OUTPUT_FLAGS,
    ),
)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One measurement: a command in a process of its own.

    Attributes:
        name: of its result.
        seconds: it is left out where less time is left.
        words: the module and its flags.
        small: flags that make it tiny.
        graph: what the host launches at once, as ``gpu_graph``; empty = as configured.
        prints: whether the command prints its JSON instead of writing it to ``--json FILE``.
    """

    name: str
    seconds: float
    words: tuple[str, ...]
    small: tuple[str, ...] = ()
    graph: str = ""
    prints: bool = False


_QUICK = ("--rounds=1", "--seconds_per_round=0.05")


def _steps(dtype: str, graph: str = "") -> Stage:
    words = ("benchmarks.steps_per_sec", f"--dtype={dtype}", "--startup=false", "--seconds_per_round=1")
    name = "-".join(["steps", dtype, *([graph] if graph else [])])
    return Stage(name, 60, (*words, "--batch_sizes=64,256,1024,4096"), ("--batch_sizes=8", *_QUICK), graph)


def _accuracy(config: str, seeds: str, dtype: str = "") -> Stage:
    words = ("benchmarks.time_to_accuracy", f"--config=configs/{config}.py", f"--seeds={seeds}")
    small = ("--config=configs/smoke.py", "--seeds=0:1")
    name = "-".join(["accuracy", config, *([dtype] if dtype else [])])
    return Stage(name, 60, (*words, *([f"--config.model.dtype={dtype}"] if dtype else [])), small)


def _members(count: int) -> Stage:
    words = ("mnist_jax.study", "--config=configs/default.py", f"--seeds=0:{count}", "--split=test")
    return Stage(
        f"members-{count}",
        60,
        (*words, f"--side_by_side={count}", "--json"),
        ("--config=configs/smoke.py", "--seeds=0:2", "--side_by_side=2"),
        prints=True,
    )


# The most telling first, for time may run out.
STAGES = (
    Stage("correctness", 60, ("benchmarks.device_checks",), ("--small",)),
    _steps("float32"),
    _steps("float32", "epoch"),
    _accuracy("default", "0:3"),
    _accuracy("default", "0:3", "tfloat32"),
    _accuracy("fast_gpu", "0:10"),
    _accuracy("fast_995_gpu", "0:10"),
    Stage(
        "peers",
        120,
        ("benchmarks.compare", "--seconds_per_round=1"),
        ("--only=ours", "--batch_size=8", *_QUICK),
    ),
    _members(1),
    _members(16),
    _members(64),
    _steps("bfloat16"),
    _steps("tfloat32"),
    _steps("float32", "step"),
    Stage("profile", 30, ("benchmarks.step_breakdown",), ("--config=configs/smoke.py", "--steps=2")),
)


def main(arguments: cli.Arguments) -> int:
    """Runs the stages that are missing, puts all results together, and writes what was asked for."""
    by_name = {stage.name: stage for stage in STAGES}
    chosen = [by_name[name] for name in choose(arguments["only"], by_name, "stage")]
    deadline = time.monotonic() + 60 * arguments["minutes"]
    folder = Path(arguments["workdir"]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    left_out = {}
    for stage in chosen:
        if _result_file(folder, stage).exists():
            continue
        left = deadline - time.monotonic()
        if left < (5 if arguments["small"] else stage.seconds):
            left_out[stage.name] = f"{left:.0f} s were left"
            continue
        print(f"{stage.name} ...", file=sys.stderr, flush=True)
        if reason := run_stage(stage, folder, arguments["small"], left):
            left_out[stage.name] = reason
            print(f"{stage.name}: {reason}", file=sys.stderr)
    result = gather(folder, left_out, arguments["small"])
    print(table(result))
    write_result(result, arguments["json"], arguments["keep"])
    if arguments["plot"]:
        from benchmarks.plots import plot_accelerator

        plot_accelerator(result, arguments["plot"])
    return 0


def run_stage(stage: Stage, folder: Path, small: bool, seconds: float) -> str:
    """Runs a stage and leaves its result; returns why there is none, or nothing."""
    from mnist_jax.runtime.compilation import loop_options

    said = folder / f"{stage.name}.log"
    output = folder / f"{stage.name}.output"
    flags = [*stage.words, *(stage.small if small else ())]
    if not stage.prints:
        flags.append(f"--json={output}")
    elif stage.words[0] == "mnist_jax.study":
        flags.append(f"--workdir={folder / 'studies' / stage.name}")
    environment = dict(os.environ)
    if stage.graph:
        options = loop_options(stage.graph)
        more = " ".join(f"--{name}={value}" for name, value in options.items())
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {more}".strip()
    joules, started = device_joules(), time.monotonic()
    with said.open("w") as log, output.open("w") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", *flags],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out if stage.prints else log,
            stderr=log,
            start_new_session=True,
        )
        before = signal.signal(signal.SIGTERM, _exit)
        try:
            code = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"was ended after {seconds:.0f} s"
        finally:
            signal.signal(signal.SIGTERM, before)
            # Of its own workers, too; nothing is left to end where it ended by itself.
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    if code:
        last = said.read_text(errors="replace").strip().splitlines()[-1:]
        return f"ended with code {code}: {''.join(last)}"
    used = device_joules()
    result = {
        "wall_seconds": time.monotonic() - started,
        "joules": None if used is None or joules is None else used - joules,
        "small": small,
        "result": json.loads(output.read_text()),
    }
    write_json_atomic(_result_file(folder, stage), result)
    output.unlink()
    said.unlink()
    return ""


def _exit(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def gather(folder: Path, left_out: dict[str, str], small: bool) -> dict[str, Any]:
    """Puts the results of a folder together.

    Raises:
        RunError: there is none, or tiny work is among real work.
    """
    stages = {
        stage.name: json.loads(_result_file(folder, stage).read_text())
        for stage in STAGES
        if _result_file(folder, stage).exists()
    }
    if not stages:
        raise RunError(f"no stage has a result in {folder}; {'; '.join(left_out.values())}")
    if any(found["small"] != small for found in stages.values()):
        raise RunError(f"{folder} has results with and without --small; expected an empty --workdir")
    first = next(iter(stages.values()))["result"]
    device = next((found["result"]["device"] for found in stages.values() if "device" in found["result"]), "")
    figures = {"stages": stages, "left_out": left_out}
    return make_result("accelerator", device, {"small": small}, figures, first.get("versions", {}))


def table(result: dict[str, Any]) -> str:
    """Lays a result out as text."""
    tiny = "; tiny work" if result["settings"]["small"] else ""
    lines = [f"{result['device']}; commit {commit_of(result)}{tiny}"]
    for name, found in result["stages"].items():
        energy = "" if found["joules"] is None else f", {found['joules']:.0f} J"
        lines.append(f"{name:24}{found['wall_seconds']:>7.1f} s{energy}  {_headline(name, found['result'])}")
    lines += [f"{name:24}left out: {reason}" for name, reason in result["left_out"].items()]
    lines.append(readme_row(result))
    return "\n".join(lines)


def _headline(name: str, result: dict[str, Any]) -> str:
    if name == "correctness":
        return "; ".join(f"{check}: {told}" for check, told in result["checks"].items())
    if name.startswith("steps"):
        rates = [f"{e['images_per_second']:,.0f} at {e['batch_size']}" for e in result["batch_sizes"]]
        return f"images/s: {', '.join(rates)}"
    if name.startswith("accuracy"):
        return f"{result['mean_accuracy']:.2%} (n={result['n']}) in {result['mean_train_seconds']:.2f} s"
    if name.startswith("members"):
        return f"{result['train_seconds_a_member']:.2f} s a member"
    if name == "peers":
        return ", ".join(
            f"{c['title']} {1e3 * c['median_seconds_per_step']:.3f} ms" for c in result["contenders"].values()
        )
    return f"{1e3 * result['seconds_per_step']:.3f} ms a step"


def readme_row(result: dict[str, Any]) -> str:
    """A row for a table of devices: device, images/s at batch 64, seconds and accuracy of the default run."""
    stages = result["stages"]
    rates = [
        entry["images_per_second"]
        for name, found in stages.items()
        if name.startswith("steps-float32")
        for entry in found["result"]["batch_sizes"][:1]
    ]
    rate = f"{max(rates):,.0f}" if rates else ""
    run = stages.get("accuracy-default", {}).get("result")
    seconds, accuracy = (
        (f"{run['mean_train_seconds']:.2f}", f"{run['mean_accuracy']:.2%} (n={run['n']})")
        if run
        else ("", "")
    )
    return f"| {result['device']} | {rate} | {seconds} | {accuracy} | {commit_of(result)} |"


def _result_file(folder: Path, stage: Stage) -> Path:
    return folder / f"{stage.name}.json"


if __name__ == "__main__":
    sys.exit(cli.run_main(main, COMMAND))
