"""Convolutions in C++ elsewhere: narrower vectors give the same numbers, fewer cores the same bits."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from mnist_jax.ops.native import library

pytestmark = pytest.mark.skipif(not library.is_available(), reason="no C++ compiler")

PROGRAM = """
import os
import sys

if sys.argv[2:] == ["one core"]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np

from mnist_jax.ops.native.convolution import Window, can_convolve, convolve

CASES = [
    ((9, 12, 14, 20), (3, 3, 20, 37), Window(((1, 1), (1, 1)))),
    ((9, 12, 14, 20), (5, 4, 20, 37), Window(((2, 1), (0, 3)), (2, 3))),
    ((9, 11, 28, 3), (3, 3, 3, 16), Window(((1, 1), (0, 2)), (1, 1), (2, 1))),
]


def results():
    for images, kernel, window in CASES:
        keys = jax.random.split(jax.random.key(0), 3)
        images, kernel = jax.random.normal(keys[0], images), jax.random.normal(keys[1], kernel)
        assert can_convolve(images, kernel, window)
        value, pullback = jax.vjp(lambda x, k: convolve(x, k, window), images, kernel)
        yield value, *pullback(jax.random.normal(keys[2], value.shape))


np.savez(sys.argv[1], *jax.jit(lambda: [array for arrays in results() for array in arrays])())
"""


def compute(path, *, one_core=False, **environment):
    command = [sys.executable, "-c", PROGRAM, str(path), *(["one core"] if one_core else [])]
    subprocess.run(command, env={**os.environ, **environment}, check=True, timeout=300)
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return compute(tmp_path_factory.mktemp("here") / "arrays.npz")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are of x86-64")
@pytest.mark.parametrize("without", ["-mno-avx512f", "-mno-avx512f -mno-avx2 -mno-avx"])
def test_narrower_vectors(tmp_path, expected, without):
    found = compute(tmp_path / "arrays.npz", CXX=f"c++ {without}")
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process cannot be held to a core here")
def test_one_core(tmp_path, expected):
    for ours, theirs in zip(compute(tmp_path / "arrays.npz", one_core=True), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
