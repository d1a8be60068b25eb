"""The convolutions in C++ equal the definition in float64, in value and gradient, whatever the window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.ops.native import convolution, library
from mnist_jax.ops.native.convolution import Window, can_convolve, convolve

pytestmark = pytest.mark.skipif(not library.is_available(), reason="no C++ compiler")

PAIRS = st.tuples(*[st.integers(0, 3)] * 2)


def reference(images, kernel, cotangent, window):
    """Value and both gradients by the definition, in float64: XLA's own are wrong for much padding."""
    images, kernel, cotangent = (np.asarray(x, np.float64) for x in (images, kernel, cotangent))
    padded = np.pad(images, [(0, 0), *window.padding, (0, 0)])
    value, of_padded, of_kernel = np.zeros(cotangent.shape), np.zeros(padded.shape), np.zeros(kernel.shape)
    for i, j in np.ndindex(*kernel.shape[:2]):
        down, across = (
            slice(k * dilation, k * dilation + stride * (side - 1) + 1, stride)
            for k, stride, dilation, side in zip(
                (i, j), window.strides, window.dilation, cotangent.shape[1:3], strict=True
            )
        )
        seen = np.s_[:, down, across]
        value += padded[seen] @ kernel[i, j]
        of_padded[seen] += cotangent @ kernel[i, j].T
        of_kernel[i, j] = np.tensordot(padded[seen], cotangent, axes=((0, 1, 2), (0, 1, 2)))
    (top, _), (left, _) = window.padding
    return value, of_padded[:, top : top + images.shape[1], left : left + images.shape[2]], of_kernel


def make_case(images_shape, kernel_shape, window):
    rng = np.random.default_rng(0)
    sides = window.out_sides(images_shape[1:3], kernel_shape[:2])
    shapes = images_shape, kernel_shape, (images_shape[0], *sides, kernel_shape[3])
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def assert_right(images_shape, kernel_shape, window):
    images, kernel, cotangent = make_case(images_shape, kernel_shape, window)
    assert can_convolve(images, kernel, window)
    value, pullback = jax.vjp(lambda x, k: convolve(x, k, window), images, kernel)
    expected = reference(images, kernel, cotangent, window)
    for ours, theirs in zip((value, *pullback(cotangent)), expected, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, jnp.float32)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@settings(max_examples=60)
@given(
    batch=st.integers(1, 9),
    sides=st.tuples(*[st.integers(5, 20)] * 2),
    channels=st.tuples(*[st.integers(1, 40)] * 2),
    kernel=st.tuples(*[st.integers(1, 5)] * 2).filter(lambda sides: sides != (1, 1)),
    padding=st.tuples(PAIRS, PAIRS),
    strides=st.tuples(*[st.integers(1, 3)] * 2),
    dilation=st.tuples(*[st.integers(1, 2)] * 2),
)
def test_any_window(batch, sides, channels, kernel, padding, strides, dilation):
    window = Window(padding, strides, dilation)
    if min(window.out_sides(sides, kernel)) > 0:
        assert_right((batch, *sides, channels[0]), (*kernel, *channels), window)


@settings(max_examples=40)
@given(
    batch=st.integers(1, 9),
    sides=st.tuples(*[st.integers(5, 20)] * 2),
    channels=st.tuples(*[st.integers(8, 70)] * 2),
    padding=st.tuples(PAIRS, PAIRS),
)
def test_any_image_by_winograd(batch, sides, channels, padding):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "_LEAST_SAVING", 0)
        assert_right((batch, *sides, channels[0]), (3, 3, *channels), Window(padding))


@pytest.mark.parametrize(
    ("images", "kernel", "window"),
    [
        # An image larger than what is worked on at a time, by tiles and by rows.
        ((2, 70, 90, 17), (3, 3, 17, 33), Window(((1, 1), (1, 1)))),
        ((2, 70, 300, 17), (5, 4, 17, 33), Window(((1, 2), (0, 3)), (2, 3))),
        ((1, 3, 3000, 16), (2, 5, 16, 16), Window()),
        # Strides longer than the kernel: pixels that no gradient comes to.
        ((3, 11, 13, 5), (2, 2, 5, 7), Window(((0, 0), (0, 0)), (4, 5))),
        # Padding alone is seen at the edges.
        ((2, 4, 4, 3), (2, 2, 3, 4), Window(((5, 6), (7, 4)), (2, 1))),
        # Large batches are summed in parts.
        ((130, 6, 6, 16), (3, 3, 16, 16), Window()),
    ],
)
def test_shapes_that_are_divided_differently(images, kernel, window):
    assert_right(images, kernel, window)


@pytest.mark.parametrize(
    ("images", "kernel", "dtype", "padding"),
    [
        ((2, 6, 6, 3), (3, 3, 3, 4), jnp.bfloat16, (0, 0)),
        ((2, 6, 6, 3), (3, 3, 3, 4), jnp.float16, (0, 0)),
        ((2, 6, 6, 3), (3, 3, 3, 4), jnp.float32, (-1, 0)),
        ((0, 6, 6, 3), (3, 3, 3, 4), jnp.float32, (0, 0)),
        ((2, 2, 6, 3), (3, 3, 3, 4), jnp.float32, (0, 0)),
        ((2, 6, 6, 3), (1, 1, 3, 4), jnp.float32, (0, 0)),
    ],
)
def test_what_is_left_to_others(images, kernel, dtype, padding):
    arrays = jnp.zeros(images, dtype), jnp.zeros(kernel, dtype)
    assert not can_convolve(*arrays, Window((padding, (0, 0))))


def test_other_devices_are_left_to_others(monkeypatch):
    arrays = jnp.zeros((2, 6, 6, 3)), jnp.zeros((3, 3, 3, 4))
    assert can_convolve(*arrays)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not can_convolve(*arrays)


@pytest.mark.parametrize("window", [Window(), Window(((1, 1), (1, 1)), (2, 2))])
def test_bits_do_not_depend_on_what_runs_beside(window):
    images, kernel, cotangent = make_case((40, 12, 12, 16), (3, 3, 16, 32), window)

    @jax.jit
    def several(images, kernel, cotangent):
        def once(images):
            value, pullback = jax.vjp(lambda x, k: convolve(x, k, window), images, kernel)
            return value, *pullback(cotangent)

        return [once(images + i * 0) for i in range(4)]

    for results in zip(*(r for _ in range(5) for r in several(images, kernel, cotangent)), strict=True):
        assert all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_too_little_memory_to_work_in_is_an_error_and_nothing_is_written(monkeypatch, strides):
    """Python and C++ each count how much that is."""
    window = Window(strides=strides)
    images, kernel, cotangent = make_case((3, 14, 14, 8), (3, 3, 8, 8), window)
    _, pullback = jax.vjp(lambda x, k: convolve(x, k, window), images, kernel)
    monkeypatch.setattr(convolution, "_BLOCK", 8)
    for call in (lambda: convolve(images, kernel, window), lambda: pullback(cotangent)):
        with pytest.raises(jax.errors.JaxRuntimeError, match="less memory than it works in"):
            jax.block_until_ready(call())


def test_vectorized_it_is_each_by_itself():
    window = Window(((1, 1), (1, 1)))
    images, kernel, _ = make_case((6, 9, 9, 8), (3, 3, 8, 8), window)
    images = images.reshape(3, 2, 9, 9, 8)
    together = jax.vmap(lambda x: convolve(x, kernel, window))(images)
    for each, alone in zip(together, images, strict=True):
        np.testing.assert_array_equal(each, convolve(alone, kernel, window))
