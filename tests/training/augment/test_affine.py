"""The warps equal Keras', each image stands alone, and the random draw is ImageDataGenerator's."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.training.augment.affine import (
    AffineParams,
    RandomAffine,
    apply_affine_transform,
    random_affine_params,
)
from mnist_jax.training.augment.sampling import resolve_method
from tests.training import keras_affine

GOLDEN = Path(__file__).parents[2] / "golden" / "affine.npz"
SHAPES = ("12x12x1", "9x14x3", "15x8x2")
IDENTITY = {"theta": 0.0, "tx": 0.0, "ty": 0.0, "shear": 0.0, "zx": 1.0, "zy": 1.0}
ARTICLE = {
    "rotation_degrees": 8.0,
    "width_shift_fraction": 0.08,
    "height_shift_fraction": 0.08,
    "shear_degrees": 17.0,
    "zoom_fraction": 0.08,
}


def golden_cases(shape: str, kind: str):
    """Yields (images, params, sampling options, expected), one for each fill mode and order."""
    with np.load(GOLDEN) as arrays:
        case = {name.split("/")[-1]: arrays[name] for name in arrays if name.startswith(f"{shape}/{kind}/")}
    for fill_mode in ("nearest", "constant"):
        for order in (0, 1):
            chosen = (case["fill_mode"] == fill_mode) & (case["order"] == order)
            assert chosen.any()
            images = (case["images"][chosen] / 255).astype(np.float32)
            params = [case[name][chosen] for name in AffineParams._fields]
            yield images, params, case["cval"][chosen], fill_mode, order, case["expected"][chosen]


def warp_traced(images, params, fill_mode, order, cval, method="gather"):
    """One jitted, vmapped call with everything traced."""

    def one(image, cval, *params):
        return apply_affine_transform(
            image[None], *params, fill_mode=fill_mode, cval=cval, order=order, method=method
        )[0]

    return np.asarray(jax.jit(jax.vmap(one))(images, cval, *params))


@pytest.fixture(scope="module")
def digits():
    return np.random.default_rng(0).random((5, 12, 10, 2), np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["mild", "extreme", "ties"])
def test_the_oracle_gives_keras_values_even_at_ties(shape, kind):
    for images, params, cval, fill_mode, order, expected in golden_cases(shape, kind):
        warped = keras_affine.warp(images, params, fill_mode, cval, order)
        np.testing.assert_allclose(warped, expected, atol=1e-6, err_msg=f"{fill_mode}, order {order}")


@pytest.mark.parametrize("fill_mode", ["nearest", "constant"])
@pytest.mark.parametrize("order", [0, 1])
def test_random_warps_are_the_oracles(fill_mode, order):
    images = np.random.default_rng(0).random((200, 28, 28, 1), np.float32)
    params = random_affine_params(jax.random.key(4), 200, (28, 28), **ARTICLE)
    expected = keras_affine.warp(images, params, fill_mode, 0.5, order)
    warped = apply_affine_transform(images, *params, fill_mode, 0.5, order)
    # A position on an edge may fall on its other side: a few of these 156,800 pixels.
    assert np.mean(np.abs(warped - expected) > 1e-4) < 1e-4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["mild", "extreme"])
@pytest.mark.parametrize("method", ["gather", "matmul"])
def test_traced_parameters_give_keras_values(shape, kind, method):
    for images, params, cval, fill_mode, order, expected in golden_cases(shape, kind):
        warped = warp_traced(images, params, fill_mode, order, cval, method)
        np.testing.assert_allclose(warped, expected, atol=1e-4, err_msg=f"{fill_mode}, order {order}")


@pytest.mark.parametrize("shape", SHAPES)
def test_traced_bilinear_nearest_has_no_ties(shape):
    for images, params, cval, fill_mode, order, expected in golden_cases(shape, "ties"):
        if (fill_mode, order) == ("nearest", 1):
            np.testing.assert_allclose(
                warp_traced(images, params, fill_mode, order, cval), expected, atol=1e-4
            )


# Of a few shapes: each is a program of its own.
@settings(max_examples=40)
@given(
    shape=st.sampled_from([(3, 8, 8, 1), (2, 5, 9, 3), (1, 1, 7, 1)]),
    fill_mode=st.sampled_from(["nearest", "constant"]),
    order=st.sampled_from([0, 1]),
    params=st.tuples(
        st.floats(-360, 360),  # rotation
        st.floats(-40, 40),
        st.floats(-40, 40),
        st.floats(-80, 80),  # shear
        st.floats(0.05, 20),
        st.floats(0.05, 20),
    ),
    seed=st.integers(0, 2**16),
)
def test_matrix_products_warp_as_gathers_do(shape, fill_mode, order, params, seed):
    images = np.random.default_rng(seed).random(shape, np.float32)
    given = [np.float32(value) for value in params]
    gathered, multiplied = (
        _jitted_warp(images, *given, fill_mode=fill_mode, cval=0.5, order=order, method=method)
        for method in ("gather", "matmul")
    )
    np.testing.assert_allclose(multiplied, gathered, atol=1e-5)


_jitted_warp = jax.jit(apply_affine_transform, static_argnames=("fill_mode", "order", "method"))


def test_a_tpu_warps_by_matrix_products():
    assert {name: resolve_method("auto", name) for name in ("cpu", "gpu", "tpu")} == {
        "cpu": "gather",
        "gpu": "gather",
        "tpu": "matmul",
    }
    assert resolve_method("gather", "tpu") == "gather"


def test_tx_moves_columns_and_ty_moves_rows():
    images = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)

    def warp(**shift):
        return apply_affine_transform(images, **(IDENTITY | shift), fill_mode="constant", cval=-1.0)[
            0, :, :, 0
        ]

    np.testing.assert_array_equal(warp(tx=1.0), [[1, 2, 3, -1], [5, 6, 7, -1], [9, 10, 11, -1]])
    np.testing.assert_array_equal(warp(ty=-1.0), [[-1, -1, -1, -1], [0, 1, 2, 3], [4, 5, 6, 7]])


@pytest.mark.parametrize("fill_mode", ["nearest", "constant"])
@pytest.mark.parametrize("order", [0, 1])
def test_identity_returns_the_images(digits, fill_mode, order):
    warped = apply_affine_transform(digits, **IDENTITY, fill_mode=fill_mode, cval=0.5, order=order)
    np.testing.assert_array_equal(warped, digits)


def test_scalars_broadcast_and_dtype_is_kept(digits):
    images = jnp.asarray(digits, jnp.bfloat16)
    warped = apply_affine_transform(images, 10.0, 1, 0, 0, 1, np.full(5, 1.1))
    assert warped.shape == images.shape
    assert warped.dtype == jnp.bfloat16
    each = [apply_affine_transform(images[i : i + 1], 10.0, 1, 0, 0, 1, 1.1)[0] for i in range(5)]
    np.testing.assert_array_equal(warped, np.stack(each))


def test_far_away_positions_stay_in_the_image(digits):
    warped = apply_affine_transform(digits, **(IDENTITY | {"tx": 1e9, "ty": -1e9}))
    np.testing.assert_array_equal(warped, np.broadcast_to(digits[:, :1, -1:], digits.shape))


def test_an_image_does_not_depend_on_its_neighbors(digits):
    params = random_affine_params(jax.random.key(3), 5, digits.shape[1:], **ARTICLE)
    warp = jax.jit(apply_affine_transform)
    together = warp(digits, *params)
    others = digits.copy()
    others[[0, 1, 3, 4]] = np.nan
    np.testing.assert_array_equal(warp(others, *params)[2], together[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fill_mode": "reflect"}, "fill_mode must be one of nearest, constant; got 'reflect'"),
        ({"order": 3}, "order must be 0 .* got 3"),
        ({"order": True}, "order must be 0 .* got True"),
        ({"theta": np.zeros(4)}, r"theta must be a scalar or have shape \[5\], got \[4\]"),
        ({"zx": jnp.zeros((5, 1))}, r"zx must be a scalar or have shape \[5\], got \[5, 1\]"),
        ({"shear": float("nan")}, "shear must be finite, got nan"),
    ],
)
def test_bad_arguments_are_refused(digits, change, message):
    with pytest.raises(ValueError, match=message):
        apply_affine_transform(**({"images": digits} | IDENTITY | change))


@pytest.mark.parametrize("images", [np.zeros((2, 4, 4, 1), np.uint8), np.zeros((4, 4, 1), np.float32)])
def test_images_must_be_a_float_batch(images):
    # Annotations are checked too when the type checker's import hook is on; either way it is refused.
    with pytest.raises(Exception, match="images|type-check"):
        apply_affine_transform(images, **IDENTITY)


def test_the_draw_is_uniform_independent_and_in_range():
    n = 20_000
    ranges = dict(zip(ARTICLE, (8.0, 0.1, 0.2, 15.0, 0.3), strict=True))
    params = random_affine_params(jax.random.key(0), n, (28, 40, 1), **ranges)
    expected = {
        "theta": (-8.0, 8.0),
        "tx": (-4.0, 4.0),  # 0.1 of 40 columns
        "ty": (-5.6, 5.6),  # 0.2 of 28 rows
        "shear": (-15.0, 15.0),
        "zx": (0.7, 1.3),
        "zy": (0.7, 1.3),
    }
    ranks = []
    for name, (low, high) in expected.items():
        share = np.sort((np.asarray(getattr(params, name), np.float64) - low) / (high - low))
        assert -1e-6 <= share[0] < 1e-3 and 1 - 1e-3 < share[-1] <= 1 + 1e-6, name
        kolmogorov_smirnov = np.abs(share - (np.arange(n) + 0.5) / n).max()
        assert kolmogorov_smirnov < 1.95 / np.sqrt(n), name  # p > 0.001
        ranks.append(getattr(params, name))
    correlations = np.corrcoef(np.stack(ranks)) - np.eye(6)
    assert np.abs(correlations).max() < 4 / np.sqrt(n)


@pytest.mark.parametrize(("fraction", "axis"), [("width_shift_fraction", 2), ("height_shift_fraction", 1)])
def test_a_shift_of_the_width_is_sideways_and_of_the_height_up_or_down(fraction, axis):
    ranges = {**dict.fromkeys(ARTICLE, 0.0), fraction: 0.4}
    ramp = jnp.broadcast_to(
        jnp.arange(10.0).reshape([10 if i == axis else 1 for i in range(4)]), (6, 10, 10, 1)
    )
    warped = RandomAffine(**ranges)(jax.random.key(0), ramp)
    along = np.ptp(warped, axis=3 - axis)
    np.testing.assert_allclose(along, 0.0, atol=1e-4)
    assert np.abs(warped - ramp).max() > 0.5


def test_random_affine_is_the_draw_applied(digits):
    key = jax.random.key(1)
    params = random_affine_params(key, 5, digits.shape[1:], **ARTICLE)
    options = {"fill_mode": "constant", "fill_value": 0.25, "interpolation_order": 0}
    augment_fn = RandomAffine(**ARTICLE, **options)
    warped = jax.jit(augment_fn)(key, digits)
    apply = functools.partial(
        apply_affine_transform, fill_mode="constant", cval=0.25, order=0, swap_center=False
    )
    expected = jax.jit(lambda images, params: apply(images, *params))(digits, params)
    np.testing.assert_array_equal(warped, expected)
    assert not np.array_equal(warped, augment_fn(jax.random.key(2), digits))
    np.testing.assert_allclose(augment_fn(augment_fn.draw(key, digits.shape), digits), warped, atol=1e-5)


def test_images_that_are_not_square_turn_about_their_own_center(digits):
    turned = apply_affine_transform(digits, 180.0, 0, 0, 0, 1, 1, swap_center=False)
    np.testing.assert_allclose(turned, digits[:, ::-1, ::-1], atol=1e-4)
    wide = np.zeros((1, 21, 41, 1), np.float32)
    wide[:, 9:12, 19:22] = 1
    for seed in range(5):
        still = dict.fromkeys(ARTICLE, 0.0)
        around = RandomAffine(**(still | {"rotation_degrees": 180.0}))(jax.random.key(seed), wide)
        rows, columns = np.nonzero(np.asarray(around)[0, ..., 0] > 0.4)
        assert (rows.mean(), columns.mean()) == pytest.approx((10, 20), abs=0.6)


def test_all_ranges_zero_traces_nothing(digits):
    nothing = RandomAffine(**dict.fromkeys(ARTICLE, 0.0))
    traced = jax.make_jaxpr(nothing)(jax.random.key(0), digits)
    assert not traced.eqns
    np.testing.assert_array_equal(nothing(jax.random.key(0), digits), digits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotation_degrees": -1.0}, "rotation_degrees must be a finite number >= 0, got -1.0"),
        ({"shear_degrees": float("inf")}, "shear_degrees must be a finite number >= 0, got inf"),
        ({"zoom_fraction": 1.0}, "zoom_fraction must be below 1, got 1.0"),
        ({"fill_mode": "wrap"}, "fill_mode must be one of"),
        ({"interpolation_order": 2}, "order must be 0"),
        ({"method": "conv"}, "method must be one of auto, gather, matmul; got 'conv'"),
    ],
)
def test_bad_ranges_are_refused_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        RandomAffine(**(ARTICLE | change))
