"""The cache of compiled programs: filled, used, and never in the way."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from mnist_jax.runtime.compile_cache import enable_compile_cache

enable_compile_cache(lambda note: print("note:", note), Path(sys.argv[1]))


@jax.jit
def slow(x):
    for _ in range(60):
        x = jnp.sin(x @ x) + jnp.linalg.inv(x + jnp.eye(4))
    return x


print(float(slow(jnp.eye(4)).sum()))
"""


def run_program(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_damaged_entries_are_noted_once_and_change_nothing(tmp_path):
    folder = tmp_path / "compiled"
    first = run_program(folder)
    entries = list(folder.glob("*-cache"))
    assert entries and "note" not in first
    assert run_program(folder) == first
    for entry in entries:
        entry.write_bytes(b"no longer a program")
    damaged = run_program(folder).splitlines()
    assert [line.startswith("note: compiled programs in") for line in damaged].count(True) == 1
    assert damaged[-1] == first.strip()


def test_a_folder_that_cannot_be_made_is_noted(tmp_path):
    (tmp_path / "file").write_text("in the way")
    lines = run_program(tmp_path / "file" / "compiled").splitlines()
    assert lines[0].startswith("note: compiled programs are not kept")
