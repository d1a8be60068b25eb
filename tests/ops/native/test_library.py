"""The functions in C++ are compiled once, kept, found again, and done without where they cannot be made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from mnist_jax.ops.native import library

PROGRAM = """
import jax.numpy as jnp

from mnist_jax.ops.convolution import conv2d
from mnist_jax.ops.native import library

library.on_trouble(lambda note: print("note:", note))
library.begin("cpu")
images, kernel = jnp.ones((1, 6, 6, 16)), jnp.ones((3, 3, 16, 16))
print(round(float(conv2d(images, kernel, "native")[0, 0, 0, 0]), 3))
print(library.is_available(), library.compiler_version())
"""
needs_compiler = pytest.mark.skipif(not library.is_available(), reason="no C++ compiler")


def run_program(folder: Path, **environment: str) -> list[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("CXX", "MNIST_JAX_NATIVE")}
    environment = {**inherited, "JAX_COMPILATION_CACHE_DIR": str(folder), **environment}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def libraries_in(folder: Path) -> dict[str, int]:
    """The kept libraries and when they were written; nothing else may be left there."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "native").iterdir()}


@needs_compiler
def test_they_are_compiled_once_and_again_where_they_are_damaged(tmp_path):
    first, *_ = lines = run_program(tmp_path)
    assert first == "144.0" and lines[1].startswith(("True GCC", "True Clang"))
    kept = libraries_in(tmp_path)
    assert sorted(name.split("-")[0] for name in kept) == ["direct", "winograd"]
    assert run_program(tmp_path, PATH="") == lines  # no compiler is needed
    assert libraries_in(tmp_path) == kept
    for name in kept:
        path = tmp_path / "native" / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run_program(tmp_path) == lines
    assert all((tmp_path / "native" / name).stat().st_size > 10_000 for name in kept)


@needs_compiler
def test_nothing_is_kept_where_jax_keeps_nothing(tmp_path):
    lines = run_program(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false", TMPDIR=str(tmp_path))
    assert lines[0] == "144.0" and lines[1].startswith("True")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("/no/such/compiler", "/no/such/compiler"),
        ("false", "false failed: exit code 1"),
        (f"{sys.executable} -c 'import sys; sys.exit(\"error: wrong\")'", "failed: error: wrong"),
    ],
)
def test_a_compiler_that_fails_is_one_note_and_the_results_are_the_same(tmp_path, compiler, reason):
    if compiler == "false" and not shutil.which("false"):
        pytest.skip("no such program here")
    note, *lines = run_program(tmp_path, CXX=compiler)
    assert note.startswith("note: convolutions are computed without C++") and reason in note
    assert lines == ["144.0", "False None"]
    assert libraries_in(tmp_path) == {}


def test_without_a_compiler_too(tmp_path):
    (tmp_path / "empty").mkdir()
    note, *lines = run_program(tmp_path, PATH=str(tmp_path / "empty"))
    assert "there is no C++ compiler; expected c++, g++, clang++, or CXX" in note
    assert lines == ["144.0", "False None"]


def test_they_can_be_switched_off(tmp_path):
    assert run_program(tmp_path, MNIST_JAX_NATIVE="off") == ["144.0", "False None"]
    assert not (tmp_path / "native").exists()


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_nothing_is_begun_for_another_platform(platform, monkeypatch):
    monkeypatch.setattr(library, "_load", lambda: pytest.fail("it was begun"))
    library.begin(platform)


@needs_compiler
@pytest.mark.parametrize("name", ["winograd", "direct"])
def test_the_compiler_has_nothing_to_remark(name):
    source = Path(library.__file__).with_name(f"{name}.cc")
    flags = ["-std=c++17", "-march=native", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    command = ["c++", *flags, "-isystem", jax.ffi.include_dir(), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
