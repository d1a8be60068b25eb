"""A program is compiled once for each shape, its time is counted, and its cache is never in the way."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.runtime.compilation import CompiledFunction, loop_options


def make_traced():
    """A compiled function and the shapes it was traced for."""
    shapes = []

    @jax.jit
    def double(tree):
        shapes.append(tree["x"].shape)
        return 2 * tree["x"]

    return CompiledFunction(double), shapes


def test_one_program_a_shape():
    function, shapes = make_traced()
    assert function.compile_seconds == 0
    np.testing.assert_array_equal(function({"x": jnp.arange(3)}), [0, 2, 4])
    spent = function.compile_seconds
    assert spent > 0
    np.testing.assert_array_equal(function({"x": jnp.arange(3) + 1}), [2, 4, 6])
    assert (function.compile_seconds, shapes) == (spent, [(3,)])
    np.testing.assert_array_equal(function({"x": jnp.arange(2)}), [0, 2])
    assert function.compile_seconds > spent and shapes == [(3,), (2,)]


def test_a_compiler_that_refuses_an_option_goes_without():
    function = CompiledFunction(jax.jit(lambda x: x + 1), {"xla_gpu_there_is_no_such": "1"})
    np.testing.assert_array_equal(function(jnp.arange(2)), [1, 2])
    # CPU knows this one and leaves it alone.
    function = CompiledFunction(jax.jit(lambda x: x + 1), loop_options("epoch"))
    np.testing.assert_array_equal(function(jnp.arange(2)), [1, 2])


def test_options_for_graphs_are_a_gpus_and_the_environment_has_the_last_word(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    assert loop_options("auto") == loop_options("epoch", "tpu") == {}
    step, epoch = (loop_options(graph)["xla_gpu_enable_command_buffer"] for graph in ("step", "epoch"))
    assert step.endswith("FUSION,CONVOLUTION") and epoch == f"{step},WHILE"
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_enable_command_buffer=FUSION")
    assert loop_options("epoch") == {}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="looks at what XLA makes for a CPU")
def test_a_loop_on_a_cpu_copies_less_and_computes_the_same(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    options = loop_options("auto", "cpu")
    assert loop_options("epoch", "cpu") == options != {}

    @jax.jit
    def steps(a, b):
        return jax.lax.fori_loop(0, 5, lambda _, ab: (ab[0] + ab[0].T @ ab[1], ab[1] - ab[0]), (a, b))

    values = (jnp.eye(64), jnp.linspace(0.0, 1.0, 64 * 64).reshape(64, 64))
    lowered = steps.lower(*values)
    usual, ours = lowered.compile(), lowered.compile(compiler_options=options)
    for x, y in zip(ours(*values), usual(*values), strict=True):
        np.testing.assert_array_equal(x, y)
    assert ours.as_text().count(" copy(") < usual.as_text().count(" copy(")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_copy_insertion_use_region_analysis=false")
    assert loop_options("auto", "cpu") == {}


def test_another_dtype_is_another_program():
    function, shapes = make_traced()
    assert function({"x": jnp.arange(3)}).dtype == jnp.int32
    assert function({"x": jnp.arange(3.0)}).dtype == jnp.float32
    assert shapes == [(3,), (3,)]


def test_numpy_and_jax_arrays_share_a_program():
    function, shapes = make_traced()
    function({"x": np.arange(3, dtype=np.int32)})
    np.testing.assert_array_equal(function({"x": jnp.arange(3)}), [0, 2, 4])
    assert shapes == [(3,)]


def test_it_is_told_before_each_compilation():
    function, shapes = make_traced()
    told = []
    function.on_compile = lambda: told.append(len(shapes))
    for size in (3, 3, 2):
        function({"x": jnp.zeros(size)})
    assert told == [0, 1]


def test_compiling_runs_nothing():
    ran = []

    @jax.jit
    def run(x):
        jax.debug.callback(lambda: ran.append(True))
        return x

    function = CompiledFunction(run)
    program = function.compiled(jnp.zeros(2))
    jax.effects_barrier()
    assert not ran
    program(jnp.zeros(2))
    jax.effects_barrier()
    assert ran == [True]


def test_static_arguments_are_compiled_in():
    powers = []

    @functools.partial(jax.jit, static_argnames=("power",))
    def raise_to(x, power):
        powers.append(power)
        return x**power

    function = CompiledFunction(raise_to)
    assert [int(function(jnp.int32(3), power=power)) for power in (2, 3, 2)] == [9, 27, 9]
    assert powers == [2, 3]


def test_donation_is_kept():
    function = CompiledFunction(jax.jit(lambda x: x + 1, donate_argnums=0))
    given = jnp.zeros(4)
    np.testing.assert_array_equal(function(given), 1)
    assert given.is_deleted()


PROGRAM = """
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from mnist_jax.runtime.compilation import enable_compile_cache

enable_compile_cache(lambda note: print("note:", note), Path(sys.argv[1]))


@jax.jit
def slow(x):
    for _ in range(60):
        x = jnp.sin(x @ x) + jnp.linalg.inv(x + jnp.eye(4))
    return x


print(float(slow(jnp.eye(4)).sum()))
"""


def run_program(folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
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
