"""Functions that are compiled as calls of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.ops.compiled_apart import compiled_apart


def neighbors(x, step):
    return jnp.sin(x[step:]) - jnp.cos(x[:-step])


def uses(function):
    """Reads the result twice."""

    def both(x):
        y = function(x, step=2)
        return y[1:] * y[:-1]

    return both


def test_compiled_apart_values_and_gradients_are_the_same():
    x = jnp.linspace(0.0, 3.0, 20)
    apart = compiled_apart(neighbors, static_argnames="step")
    np.testing.assert_allclose(apart(x, step=2), neighbors(x, 2), rtol=1e-6)
    np.testing.assert_allclose(apart(x, step=3), neighbors(x, 3), rtol=1e-6)
    gradient, expected = (jax.grad(lambda x, f=f: jnp.sum(uses(f)(x)))(x) for f in (apart, neighbors))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


def test_lists_and_vmap():
    @compiled_apart
    def sums(x):
        return [x[0] + x[1], x[0] - x[1]]

    a, b = jnp.arange(6.0).reshape(2, 3), jnp.ones((2, 3))
    for result, expected in zip(jax.vmap(lambda a, b: sums([a, b]))(a, b), (a + b, a - b), strict=True):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="looks at what XLA makes for a CPU")
def test_the_caller_does_not_compute_it_again():
    x = jnp.linspace(0.0, 3.0, 2000)
    program = jax.jit(uses(compiled_apart(neighbors, static_argnames="step"))).lower(x).compile().as_text()
    entry = program[program.index("ENTRY") :]
    assert " call(" in entry and " sine(" not in entry
    assert " call(" not in jax.jit(uses(neighbors)).lower(x).compile().as_text()
