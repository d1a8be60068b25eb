"""A storm: real training runs killed by SIGKILL at random moments, each phase of a save among them.

``make storm KILLS=N POWER_CUTS=N``; after a power cut what was not synced is lost as well, see
`tests.power_cut`. MNIST_JAX_STORM_SEED chooses the moments. What it came to is added to the file that
MNIST_JAX_STORM_RESULTS names.
"""

import json
import os
import random
import secrets
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mnist_jax.runtime.environment import git_commit
from tests.e2e.training_runs import (
    ROOT,
    SINGLE_STEPS,
    SMALL,
    TOTAL_STEPS,
    Commands,
    expect_same_end,
    steps_of,
)
from tests.forked import ForkedCommand, start_server
from tests.power_cut import Shadow, cut_power, rebuild

KILLS = int(os.environ.get("MNIST_JAX_STORM_KILLS", "100"))
POWER_CUTS = int(os.environ.get("MNIST_JAX_STORM_POWER_CUTS", "20"))
RESULTS = os.environ.get("MNIST_JAX_STORM_RESULTS", "")
SEED = int(os.environ.get("MNIST_JAX_STORM_SEED", "0")) or secrets.randbelow(2**31)
# A run ends after some ninety kills; each has a seed of its own.
KILLS_PER_RUN = 80

FREQUENT = [SINGLE_STEPS, "--config.checkpoint.every_steps=2"]


def moment_of_a_save(checkpoints: Path, seen: set[str], phase: str) -> bool:
    """Whether a save that was not under way before has reached a phase."""
    try:
        names = os.listdir(checkpoints)
    except FileNotFoundError:
        return False
    if phase == "writing":
        new = {name for name in names if "orbax-checkpoint-tmp" in name}
    elif phase == "renamed":
        new = {
            name for name in names if name.isdigit() and not (checkpoints / name / "manifest.json").exists()
        }
    else:
        new = {name for name in names if name.endswith(".removed")}
    return bool(new - seen)


def kill_at_random(process, workdir: Path, chance: random.Random, *, may_end: bool) -> str:
    """Waits for a random moment of a run and kills it there; says which, or that the run ended before."""
    checkpoints, lines = workdir / "checkpoints", workdir / "metrics.jsonl"
    kind = chance.choice(["training", "writing", "renamed", "removing", "starting", *["ending"] * may_end])
    alive = lambda: process.poll() is None  # noqa: E731
    if kind == "starting":
        wait_while(alive, chance.uniform(0.2, 3.0))
    elif kind == "training":
        before = size_of(lines)
        wait_while(lambda: alive() and size_of(lines) in (before, 0))
        wait_while(alive, chance.uniform(0, 0.5))
    elif kind == "ending":
        with_summary = chance.random() < 0.5
        awaited = workdir / ".summary.json.tmp" if with_summary else checkpoints / str(TOTAL_STEPS)
        wait_while(lambda: alive() and not awaited.exists())
        wait_while(alive, chance.uniform(0, 0.1))
    else:
        for _ in range(chance.randint(1, 3)):
            seen = set(os.listdir(checkpoints)) if checkpoints.exists() else set()
            wait_while(lambda seen=seen: alive() and not moment_of_a_save(checkpoints, seen, kind))
        wait_while(alive, chance.choice([0, 0.002, 0.01, 0.02]))
    ended = not alive()
    process.kill()
    _, err = process.communicate()
    return f"ended with {process.returncode} {err}".strip() if ended else kind


def wait_while(condition, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while condition() and time.monotonic() < end:
        time.sleep(0.001)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def storm(
    workdir: Path,
    commands: Commands,
    words: list[str],
    kills: int,
    chance: random.Random,
    power_cuts: bool = False,
    forked: bool = False,
) -> list[str]:
    """Starts a run again and again, kills it ``kills`` times, and lets it finish.

    Where ``forked`` says so, nine of ten starts are forks of a process that has imported the package.
    """
    log: list[str] = []
    shadow = workdir.with_name("shadow")
    while len(log) < kills:
        program = ["-m", "mnist_jax.train"]
        if power_cuts:
            shutil.rmtree(shadow, ignore_errors=True)
            program = [str(ROOT / "tests" / "power_cut.py"), str(shadow), str(workdir), "mnist_jax.train"]
        if forked and len(log) % 10:
            training = [*program, *SMALL, f"--workdir={workdir}", *words, *FREQUENT]
            process = ForkedCommand(training, workdir.with_name("said"))
        else:
            process = commands.start_training(workdir, *words, *FREQUENT, program=[sys.executable, *program])
        how = kill_at_random(process, workdir, chance, may_end=len(log) >= kills - 3)
        if how.startswith("ended"):
            assert how == "ended with 0", how
            break
        log.append(how)
        if power_cuts and workdir.exists():
            cut_power(workdir, Shadow(shadow), chance)
    commands.train(workdir, *words, *FREQUENT)
    return log


@pytest.mark.storm
@pytest.mark.parametrize("kind", ["kills", "power cuts"])
def test_storm(commands, tmp_path, capsys, kind):
    start_server(commands.environment)
    done, run = 0, 0
    wanted = KILLS if kind == "kills" else POWER_CUTS
    while done < wanted:
        chance = random.Random(SEED + run)
        words = [f"--config.seed={SEED + run}"]
        reference, workdir = tmp_path / f"reference{run}", tmp_path / f"killed{run}"
        commands.train(reference, *words)
        count = min(wanted - done, KILLS_PER_RUN)
        log = storm(workdir, commands, words, count, chance, power_cuts=kind == "power cuts", forked=True)
        done += len(log)
        with capsys.disabled():
            counts = ", ".join(f"{log.count(kind)} {kind}" for kind in sorted(set(log)))
            print(f"\nrun {run}, seed {SEED + run}: {len(log)} {kind} ({counts}); {done} in all", flush=True)
        expect_same_end(workdir, reference)
        assert steps_of(workdir)[-1] == TOTAL_STEPS
        assert commands.run("verify", str(workdir)).returncode == 0
        keep_result({"kind": kind, "seed": SEED + run, "count": len(log), "moments": Counter(log)})
        run += 1


def keep_result(result: dict) -> None:
    """Adds a run that ended equal bit for bit to the file of results."""
    if RESULTS:
        line = {"date": time.strftime("%Y-%m-%d"), "git_commit": git_commit(), **result, "differing_bits": 0}
        with open(RESULTS, "a") as file:
            file.write(json.dumps(line) + "\n")


def test_a_power_cut_loses_what_was_not_synced(tmp_path):
    folder, shadow = tmp_path / "run", Shadow(tmp_path / "shadow")
    (folder / "old").mkdir(parents=True)
    shadow.path.mkdir()
    (folder / "synced").write_bytes(b"one line\n")
    (folder / "old" / "file").write_bytes(b"kept")
    shadow.note_all(folder)
    (folder / "synced").write_bytes(b"one line\nand another\n")
    (folder / "new").write_bytes(b"never synced")
    (folder / "old").rename(folder / "moved")
    seen = set()
    for seed in range(60):
        rebuild(folder, tmp_path / "left", shadow, random.Random(seed))
        assert (tmp_path / "left" / "synced").read_bytes().startswith(b"one line\n")
        (where,) = [path for path in (tmp_path / "left").iterdir() if path.is_dir()]
        assert (where / "file").read_bytes() == b"kept"
        new = tmp_path / "left" / "new"
        seen |= {where.name, new.read_bytes() if new.exists() else None}
        shutil.rmtree(tmp_path / "left")
    assert {"old", "moved", None, b"", b"never synced", bytes(12)} <= seen


def test_a_small_storm(commands, uninterrupted, tmp_path):
    log = storm(tmp_path / "run", commands, [], 3, random.Random(SEED))
    expect_same_end(tmp_path / "run", uninterrupted)
    assert len(log) <= 3
