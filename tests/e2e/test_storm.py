"""A storm: real training runs killed by SIGKILL at random moments, each phase of a save among them.

``make storm`` kills 100 times; MNIST_JAX_STORM_KILLS and MNIST_JAX_STORM_SEED change that.
"""

import os
import random
import secrets
import time
from pathlib import Path

import pytest

from tests.e2e.training_runs import SINGLE_STEPS, TOTAL_STEPS, Commands, expect_same_end, steps_of

KILLS = int(os.environ.get("MNIST_JAX_STORM_KILLS", "100"))
SEED = int(os.environ.get("MNIST_JAX_STORM_SEED", "0")) or secrets.randbelow(2**31)
NUM_RUNS = 4

FREQUENT = [SINGLE_STEPS, "--config.checkpoint.every_steps=3"]


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
        time.sleep(0.0002)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def storm(
    workdir: Path, commands: Commands, words: list[str], kills: int, chance: random.Random
) -> list[str]:
    """Starts a run again and again, kills it ``kills`` times, and lets it finish."""
    log = []
    while len(log) < kills:
        process = commands.start_training(workdir, *words, *FREQUENT)
        how = kill_at_random(process, workdir, chance, may_end=len(log) >= kills - 3)
        if how.startswith("ended"):
            assert how == "ended with 0", how
            break
        log.append(how)
    commands.train(workdir, *words, *FREQUENT)
    return log


@pytest.mark.storm
def test_storm(commands, tmp_path, capsys):
    done, run = 0, 0
    while done < KILLS:
        chance = random.Random(SEED + run)
        words = [f"--config.seed={SEED + run}"]
        reference, workdir = tmp_path / f"reference{run}", tmp_path / f"killed{run}"
        commands.train(reference, *words)
        log = storm(workdir, commands, words, min(KILLS - done, -(-KILLS // NUM_RUNS)), chance)
        done += len(log)
        with capsys.disabled():
            counts = ", ".join(f"{log.count(kind)} {kind}" for kind in sorted(set(log)))
            print(f"\nrun {run}, seed {SEED + run}: {len(log)} kills ({counts}); {done} in all", flush=True)
        expect_same_end(workdir, reference)
        assert steps_of(workdir)[-1] == TOTAL_STEPS
        run += 1


def test_a_small_storm(commands, uninterrupted, tmp_path):
    log = storm(tmp_path / "run", commands, [], 3, random.Random(SEED))
    expect_same_end(tmp_path / "run", uninterrupted)
    assert len(log) <= 3
