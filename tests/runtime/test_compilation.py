"""A program is compiled once for each shape, and the time that takes is counted apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mnist_jax.runtime.compilation import CompiledFunction


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
    assert (function.num_programs, function.compile_seconds) == (0, 0)
    np.testing.assert_array_equal(function({"x": jnp.arange(3)}), [0, 2, 4])
    spent = function.compile_seconds
    assert spent > 0
    np.testing.assert_array_equal(function({"x": jnp.arange(3) + 1}), [2, 4, 6])
    assert (function.num_programs, function.compile_seconds, shapes) == (1, spent, [(3,)])
    np.testing.assert_array_equal(function({"x": jnp.arange(2)}), [0, 2])
    assert function.num_programs == 2 and function.compile_seconds > spent
    assert shapes == [(3,), (2,)]


def test_another_dtype_is_another_program():
    function, _ = make_traced()
    assert function({"x": jnp.arange(3)}).dtype == jnp.int32
    assert function({"x": jnp.arange(3.0)}).dtype == jnp.float32
    assert function.num_programs == 2


def test_numpy_and_jax_arrays_share_a_program():
    function, _ = make_traced()
    function({"x": np.arange(3, dtype=np.int32)})
    np.testing.assert_array_equal(function({"x": jnp.arange(3)}), [0, 2, 4])
    assert function.num_programs == 1


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
    @functools.partial(jax.jit, static_argnames=("power",))
    def raise_to(x, power):
        return x**power

    function = CompiledFunction(raise_to)
    assert [int(function(jnp.int32(3), power=power)) for power in (2, 3, 2)] == [9, 27, 9]
    assert function.num_programs == 2


def test_donation_is_kept():
    function = CompiledFunction(jax.jit(lambda x: x + 1, donate_argnums=0))
    given = jnp.zeros(4)
    np.testing.assert_array_equal(function(given), 1)
    assert given.is_deleted()
