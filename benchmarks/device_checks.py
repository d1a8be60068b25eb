"""``python -m benchmarks.device_checks``: whether the device at hand computes what a CPU does."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.result_files import JSON_FILE
from benchmarks.workers import ROOT
from mnist_jax import cli
from mnist_jax.errors import RunError
from mnist_jax.storage.json_files import read_summary, write_json_atomic

COMMAND = cli.Command(
    "python -m benchmarks.device_checks",
    "Trains the same steps on this machine's CPU and on its device, on the device twice, and goes on\n"
    "from a checkpoint of each on the other.",
    (
        cli.Flag("small", False, "fewer steps"),
        cli.Flag("losses_only", False, "only the losses of the first steps on the device at hand"),
        JSON_FILE,
    ),
)

# Of the first loss, which is that of the same parameters, and of the first three. Later ones drift apart:
# training multiplies what rounding leaves.
_TOLERANCES = (1e-5, 1e-3, 1e-3)


def main(arguments: cli.Arguments) -> int:
    """Checks, prints one line a check, and writes what was asked for."""
    from mnist_jax.runtime.environment import collect_versions, describe_device

    num_steps = 2 if arguments["small"] else 20
    if arguments["losses_only"]:
        checks = {"losses": first_losses(num_steps)}
    else:
        checks = check_steps(num_steps) | check_checkpoints()
    result = {
        "benchmark": "device_checks",
        "device": str(describe_device()["device"]),
        "checks": checks,
        "versions": collect_versions(),
    }
    for name, told in result["checks"].items():
        print(f"{name}: {told}")
    if arguments["json"]:
        write_json_atomic(arguments["json"], result)
    return 0


def first_losses(num_steps: int) -> list[float]:
    """Trains the default configuration, without augmentation, for so many steps of 64 images."""
    import numpy as np

    from benchmarks.contenders import Work
    from benchmarks.contenders.ours import Steps, build_work_experiment

    # As many images as the steps need: an accelerator's call is an epoch.
    work = Work(batch_size=64, num_examples=64 * num_steps)
    steps = Steps(build_work_experiment(work), work.images(), work.labels())
    steps.run(num_steps)
    return np.asarray(steps.log.loss_sum, np.float64).tolist()


def check_steps(num_steps: int) -> dict[str, Any]:
    """Compares the losses of the first steps on CPU and device, and tells whether two runs on it are equal.

    Raises:
        RunError: the device computes something else.
    """
    device, again = first_losses(num_steps), first_losses(num_steps)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "losses.json"
        small = ["--small"] if num_steps == 2 else []
        _run("cpu", "benchmarks.device_checks", "--losses_only", *small, f"--json={file}")
        cpu = json.loads(file.read_text())["checks"]["losses"]
    apart = [abs(ours - theirs) / theirs for ours, theirs in zip(device, cpu, strict=True)]
    for step, (difference, tolerance) in enumerate(zip(apart, _TOLERANCES, strict=False)):
        if not difference <= tolerance:
            raise RunError(
                f"losses of CPU and device are {difference:.1e} apart in step {step}; expected at most "
                f"{tolerance}"
            )
    return {
        "relative differences of losses to CPU": apart,
        "twice the same": device == again,
    }


def check_checkpoints() -> dict[str, Any]:
    """Trains one epoch on the CPU and a second on the device, and the other way round.

    Raises:
        RunError: a command failed, with its last line.
    """
    ends = {}
    for platforms in (("cpu", ""), ("", "cpu")):
        with tempfile.TemporaryDirectory() as folder:
            workdir = Path(folder) / "run"
            _run(platforms[0], "mnist_jax.train", "--config=configs/smoke.py", f"--workdir={workdir}")
            _run(platforms[1], "mnist_jax.train", f"--workdir={workdir}", "--extend=2")
            named = ", then ".join(platform or "device" for platform in platforms)
            ends[f"test accuracy, {named}"] = read_summary(workdir)["test_accuracy"]
    return ends


def _run(platform: str, module: str, *flags: str) -> None:
    environment = {**os.environ, **({"JAX_PLATFORMS": platform} if platform else {})}
    done = subprocess.run(
        [sys.executable, "-m", module, *flags], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise RunError(f"{module} on {platform or 'the device'}: {''.join(last)}")


if __name__ == "__main__":
    sys.exit(cli.run_main(main, COMMAND))
