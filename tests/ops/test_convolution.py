"""Both ways to convolve and to pool equal the definition in float64, in value and in gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jaxtyping import TypeCheckError

from mnist_jax.ops.convolution import conv2d, resolve_implementation
from mnist_jax.ops.pooling import max_pool2d

IMPLEMENTATIONS = ("native", "gemm", "lax")
# batch, height, width, rows, cols, channels, features
SHAPES = {
    "the article's first": (2, 28, 28, 3, 3, 1, 32),
    "odd sizes": (3, 7, 5, 3, 3, 2, 4),
    "kernel of one pixel": (2, 4, 5, 1, 1, 3, 2),
    "kernel as large as the image": (2, 4, 5, 4, 5, 2, 3),
    "even kernel": (1, 6, 6, 2, 2, 1, 1),
    "kernel that is not square": (2, 6, 8, 2, 5, 3, 2),
    "Winograd": (2, 8, 6, 3, 3, 64, 70),
    "Winograd with odd sizes": (2, 13, 9, 3, 3, 65, 64),
    "Winograd with one tile, not full": (3, 6, 5, 3, 3, 32, 64),
    "too small for Winograd": (3, 3, 3, 3, 3, 64, 64),
    "one of everything": (1, 1, 1, 1, 1, 1, 1),
}


def reference(images, kernel, cotangent):
    """Value and both gradients by the definition of the sum, in float64."""
    images, kernel, cotangent = (np.asarray(x, np.float64) for x in (images, kernel, cotangent))
    rows, cols = kernel.shape[:2]
    height, width = cotangent.shape[1:3]
    value = np.zeros(cotangent.shape)
    images_gradient, kernel_gradient = np.zeros(images.shape), np.zeros(kernel.shape)
    for i in range(rows):
        for j in range(cols):
            window = np.s_[:, i : i + height, j : j + width]
            value += images[window] @ kernel[i, j]
            images_gradient[window] += cotangent @ kernel[i, j].T
            kernel_gradient[i, j] = np.tensordot(images[window], cotangent, axes=((0, 1, 2), (0, 1, 2)))
    return value, images_gradient, kernel_gradient


def make_case(shape, seed=0, dtype=np.float32):
    batch, height, width, rows, cols, channels, features = shape
    rng = np.random.default_rng(seed)
    images = jnp.asarray(rng.normal(size=(batch, height, width, channels)), dtype)
    kernel = jnp.asarray(rng.normal(size=(rows, cols, channels, features)), dtype)
    cotangent = jnp.asarray(rng.normal(size=(batch, height - rows + 1, width - cols + 1, features)), dtype)
    return images, kernel, cotangent


def value_and_gradients(images, kernel, cotangent, implementation):
    value, pullback = jax.vjp(lambda x, k: conv2d(x, k, implementation), images, kernel)
    return value, *pullback(cotangent)


def assert_equal_to_reference(shape, implementation, seed=0):
    case = make_case(shape, seed)
    results = jax.jit(value_and_gradients, static_argnums=3)(*case, implementation)
    for result, expected in zip(results, reference(*case), strict=True):
        assert result.shape == expected.shape and result.dtype == jnp.float32
        # Rounding grows with the length of the sum, not with its (perhaps cancelling) value.
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5 * np.sqrt(case[0].size))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_value_and_gradients(shape, implementation):
    assert_equal_to_reference(shape, implementation)


@settings(max_examples=6, derandomize=True)
@given(data=st.data())
def test_value_and_gradients_of_any_shape(data):
    sizes = {name: st.integers(1, 4) for name in ("batch", "channels", "features")}
    batch, channels, features = (data.draw(size, label=name) for name, size in sizes.items())
    height, width = data.draw(st.integers(1, 9), label="height"), data.draw(st.integers(1, 9), label="width")
    rows = data.draw(st.integers(1, height), label="rows")
    cols = data.draw(st.integers(1, width), label="cols")
    for implementation in IMPLEMENTATIONS:
        assert_equal_to_reference((batch, height, width, rows, cols, channels, features), implementation)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_inside_a_scan(implementation):
    case = make_case(SHAPES["odd sizes"])
    expected = reference(*case)

    @jax.jit
    def scanned(case):
        def body(sums, _):
            return jax.tree.map(jnp.add, sums, value_and_gradients(*case, implementation)), None

        zeros = tuple(jnp.zeros(part.shape) for part in expected)
        return lax.scan(body, zeros, length=3)[0]

    for result, part in zip(scanned(case), expected, strict=True):
        np.testing.assert_allclose(result, 3 * part, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_under_vmap_over_images_and_kernels(implementation):
    cases = [make_case(SHAPES["odd sizes"], seed) for seed in range(3)]
    stacked = [jnp.stack(parts) for parts in zip(*cases, strict=True)]
    mapped = jax.jit(jax.vmap(lambda *case: value_and_gradients(*case, implementation)))(*stacked)
    for i, case in enumerate(cases):
        for result, expected in zip(mapped, reference(*case), strict=True):
            np.testing.assert_allclose(result[i], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bfloat16_stays_bfloat16(implementation):
    case = make_case(SHAPES["odd sizes"], dtype=jnp.bfloat16)
    results = jax.jit(value_and_gradients, static_argnums=3)(*case, implementation)
    for result, expected in zip(results, reference(*case), strict=True):
        assert result.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(result, np.float64), expected, rtol=0.03, atol=0.2)


@pytest.mark.parametrize("implementation", ["gemm", "lax"])
def test_the_precision_reaches_the_products_of_both_gradients(implementation):
    images, kernel, cotangent = make_case(SHAPES["odd sizes"])

    def run(images, kernel):
        _, pullback = jax.vjp(
            lambda x, k: conv2d(x, k, implementation, lax.Precision.HIGHEST), images, kernel
        )
        return pullback(cotangent)

    text = jax.jit(run).lower(images, kernel).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line or "convolution" in line]
    assert len(products) >= 2
    assert all("HIGHEST" in line for line in products)


@pytest.mark.parametrize("implementation", (*IMPLEMENTATIONS, "auto"))
@pytest.mark.parametrize(("rows", "cols"), [(5, 3), (3, 6)])
def test_a_kernel_larger_than_the_images_is_refused(rows, cols, implementation):
    with pytest.raises(ValueError, match=f"{rows}x{cols} kernel does not fit into 4x5 images"):
        conv2d(jnp.zeros((1, 4, 5, 1)), jnp.zeros((rows, cols, 1, 1)), implementation)


def test_auto_is_chosen_by_platform():
    assert resolve_implementation("auto", "cpu") == "native"
    assert resolve_implementation("auto", "gpu") == "fused"
    assert resolve_implementation("auto", "tpu") == "lax"
    assert resolve_implementation("auto") == resolve_implementation("auto", jax.default_backend())


@pytest.mark.parametrize("platform", [None, "cpu", "gpu"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_what_is_asked_for_is_taken(implementation, platform):
    assert resolve_implementation(implementation, platform) == implementation


def test_an_unknown_implementation_is_refused():
    with pytest.raises(ValueError, match="'winograd'; expected one of auto, native, gemm, fused, lax"):
        resolve_implementation("winograd")
    with pytest.raises(ValueError, match="winograd"):
        conv2d(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1)), "winograd")
    with pytest.raises(ValueError, match="winograd"):
        max_pool2d(jnp.zeros((1, 4, 4, 1)), 2, "winograd")


def test_shapes_in_annotations_are_checked_under_pytest():
    with pytest.raises(TypeCheckError, match="batch height width channels"):
        conv2d(jnp.zeros((4, 4, 1)), jnp.zeros((3, 3, 1, 1)))


def pooled_reference(images, window, cotangent):
    """Tile by tile: the maximum, and the gradient handed to where it came from (there are no ties)."""
    value, gradient = np.zeros(cotangent.shape, images.dtype), np.zeros(images.shape, images.dtype)
    for b, i, j, c in np.ndindex(cotangent.shape):
        corner = (b, i * window, j * window, c)
        tile = images[b, corner[1] : corner[1] + window, corner[2] : corner[2] + window, c]
        row, col = np.unravel_index(tile.argmax(), tile.shape)
        value[b, i, j, c] = tile[row, col]
        gradient[b, corner[1] + row, corner[2] + col, c] = cotangent[b, i, j, c]
    return value, gradient


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("height", "width", "window"), [(6, 4, 2), (7, 5, 2), (2, 2, 2), (8, 7, 3), (3, 4, 1)]
)
def test_max_pool_and_its_gradient(height, width, window, implementation):
    rng = np.random.default_rng(0)
    images = rng.permutation(2 * height * width * 3).reshape(2, height, width, 3).astype(np.float32) - 40
    cotangent = rng.normal(size=(2, height // window, width // window, 3)).astype(np.float32)

    @jax.jit
    def run(images):
        value, pullback = jax.vjp(lambda x: max_pool2d(x, window, implementation), images)
        return value, pullback(cotangent)[0]

    value, gradient = run(images)
    expected_value, expected_gradient = pooled_reference(images, window, cotangent)
    np.testing.assert_array_equal(value, expected_value)
    np.testing.assert_array_equal(gradient, expected_gradient)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_max_pool_keeps_bfloat16(implementation):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 4, 2)), jnp.bfloat16)
    value = max_pool2d(images, 2, implementation)
    assert value.dtype == jnp.bfloat16
    expected = pooled_reference(np.asarray(images, np.float32), 2, np.zeros((1, 2, 2, 2)))[0]
    np.testing.assert_array_equal(np.asarray(value, np.float32), expected)


def test_ties_after_relu_give_the_same_gradient_either_way():
    # The two share a tied gradient out differently; ReLU's own gradient hides that, and has to.
    images = jnp.asarray(np.random.default_rng(0).integers(-9, 2, (2, 6, 6, 3)).clip(max=0), jnp.float32)
    images = images.at[:, ::4, ::4].set(1.5)
    gradients = [
        jax.jit(jax.grad(lambda x, way=way: jnp.sum(max_pool2d(jax.nn.relu(x), 2, way) ** 2)))(images)
        for way in IMPLEMENTATIONS
    ]
    assert jnp.any(gradients[0] != 0)
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_max_pool_inside_a_scan_and_under_vmap(implementation):
    images = np.random.default_rng(0).normal(size=(3, 2, 5, 4, 2)).astype(np.float32)
    mapped = jax.jit(jax.vmap(lambda x: max_pool2d(x, 2, implementation)))(images)
    scanned = jax.jit(lambda xs: lax.scan(lambda _, x: (None, max_pool2d(x, 2, implementation)), None, xs)[1])
    expected = np.stack([pooled_reference(x, 2, np.zeros((2, 2, 2, 2)))[0] for x in images])
    np.testing.assert_array_equal(mapped, expected)
    np.testing.assert_array_equal(scanned(images), expected)
