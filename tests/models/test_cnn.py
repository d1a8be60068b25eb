"""The article's network: its size, its numbers against a NumPy one, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.models.cnn import CNN
from mnist_jax.models.registry import count_parameters, summarize_layers

IMAGES = jax.random.uniform(jax.random.key(3), (4, 10, 9, 1))


def shapes_of(model, image_shape=(28, 28, 1)):
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def test_the_articles_network_has_its_size():
    variables = shapes_of(CNN())
    assert count_parameters(variables["params"]) == 596_330
    assert count_parameters(variables["batch_stats"]) == 1_408


@pytest.mark.parametrize(
    ("fields", "path", "shape"),
    [
        ({"num_classes": 26}, ("head", "kernel"), (512, 26)),
        ({"features": (8, 16)}, ("conv1", "kernel"), (3, 3, 8, 16)),
        ({"kernel_size": 5, "features": (8,)}, ("conv0", "kernel"), (5, 5, 1, 8)),
        # 28 -> 26 -> 13 -> 11 -> 5 -> 3 -> 1: each pooling of an odd side leaves a row and a column out
        ({"pool_after": (0, 1)}, ("dense", "kernel"), (1 * 1 * 64, 512)),
        ({"pool_after": ()}, ("dense", "kernel"), (20 * 20 * 64, 512)),
        ({"dense_features": 7}, ("head", "kernel"), (7, 10)),
    ],
)
def test_every_size_is_a_field(fields, path, shape):
    layer, name = path
    assert shapes_of(CNN(**fields))["params"][layer][name].shape == shape


@pytest.mark.parametrize(("image_shape", "flat"), [((32, 20, 3), 5 * 2 * 64), ((28, 28, 3), 4 * 4 * 64)])
def test_the_network_follows_the_images(image_shape, flat):
    params = shapes_of(CNN(), image_shape)["params"]
    assert params["conv0"]["kernel"].shape == (3, 3, image_shape[2], 32)
    assert params["dense"]["kernel"].shape == (flat, 512)


@pytest.mark.parametrize(
    ("fields", "image_shape", "message"),
    [
        ({}, (8, 28, 1), "images of 8x28 are too small: before conv2 only 2x12 is left.* needs 3x3"),
        ({"kernel_size": 9}, (8, 8, 1), "before conv0 only 8x8 is left, and its kernel needs 9x9"),
        ({"features": (4,), "pool_after": (0,)}, (3, 3, 1), "images of 3x3 are too small: nothing is left"),
    ],
)
def test_images_that_are_too_small_are_refused(fields, image_shape, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(CNN(**fields), image_shape)


def test_an_unknown_lowering_or_dtype_is_refused():
    with pytest.raises(ValueError, match="'fft'; expected one of auto, native, gemm, fused, lax"):
        shapes_of(CNN(conv="fft"))
    with pytest.raises(
        ValueError, match="'float16' is not known; expected one of float32, tfloat32, bfloat16"
    ):
        shapes_of(CNN(dtype="float16"))


@pytest.fixture(scope="module")
def variables(tiny_model):
    return jax.jit(tiny_model.init)(jax.random.key(0), IMAGES)


def apply(model, variables, *, train=False, dropout_seed=0):
    rngs = {"dropout": jax.random.key(dropout_seed)} if train else {}
    run = jax.jit(lambda v: model.apply(v, IMAGES, train=train, rngs=rngs, mutable=["batch_stats"]))
    return run(variables)


@pytest.mark.parametrize("train", [False, True])
def test_every_lowering_gives_the_same_from_the_same_variables(tiny_model, variables, train):
    ways = ("native", "gemm", "fused", "lax")
    results = [apply(tiny_model.clone(conv=conv), variables, train=train) for conv in ways]
    for other in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), results[0], other)


@pytest.mark.parametrize(("dtype", "tolerance"), [("tfloat32", 0.02), ("bfloat16", 0.1)])
def test_lower_precision_keeps_float32_variables_and_logits(tiny_model, variables, dtype, tolerance):
    model = tiny_model.clone(dtype=dtype)
    assert jax.tree.map(jnp.shape, shapes_of(model, (10, 9, 1))) == jax.tree.map(jnp.shape, variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    logits = apply(model, variables)[0]
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, apply(tiny_model, variables)[0], atol=tolerance)


def test_dropout_is_drawn_in_training_only(tiny_model, variables):
    in_training = [np.asarray(apply(tiny_model, variables, train=True, dropout_seed=i)[0]) for i in (0, 0, 1)]
    np.testing.assert_array_equal(in_training[0], in_training[1])
    assert not np.array_equal(in_training[0], in_training[2])
    without = tiny_model.clone(dropout_rate=0.0)
    np.testing.assert_array_equal(apply(tiny_model, variables)[0], apply(without, variables)[0])
    assert not np.array_equal(in_training[0], apply(without, variables, train=True)[0])


def test_statistics_move_in_training_only_and_by_the_momentum(tiny_model, variables):
    _, kept = apply(tiny_model, variables)
    jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], variables["batch_stats"])
    moved = {}
    for momentum in (0.0, 0.75):
        _, updates = apply(tiny_model.clone(batch_norm_momentum=momentum), variables, train=True)
        moved[momentum] = updates["batch_stats"]["conv0"]["bn"]
    for name, start in variables["batch_stats"]["conv0"]["bn"].items():
        np.testing.assert_allclose(moved[0.75][name], 0.75 * start + 0.25 * moved[0.0][name], rtol=1e-5)
        assert not np.allclose(moved[0.0][name], start)


def test_the_epsilon_of_batch_norm_counts(tiny_model, variables):
    outputs = [apply(tiny_model.clone(batch_norm_epsilon=epsilon), variables)[0] for epsilon in (1e-3, 1.0)]
    assert not np.allclose(*outputs)


@pytest.mark.parametrize("conv", ["gemm", "lax"])
@pytest.mark.parametrize("train", [False, True])
def test_logits_equal_numpys(golden_training, conv, train):
    golden = golden_training(conv)
    run = jax.jit(lambda v, x: golden.model.apply(v, x, train=train, mutable=["batch_stats"])[0])
    logits = run(golden.variables("start"), golden.arrays["images"][0].astype(np.float32) / 255)
    expected = golden.arrays["start/logits_train" if train else "start/logits_eval"]
    np.testing.assert_allclose(logits, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("image_shape", "poolings"),
    [((28, 28, 1), 0), ((64, 64, 3), 0), ((200, 200, 3), 2), ((300, 400, 3), 2), ((28, 4000, 1), 2)],
)
def test_large_images_are_pooled_until_the_hidden_layer_is_in_bounds(image_shape, poolings):
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    params = jax.eval_shape(CNN(conv="lax").init, jax.random.key(0), images)["params"]
    assert params["dense"]["kernel"].size <= 2**24
    names = [row[0] for row in summarize_layers(CNN(conv="lax"), image_shape)]
    assert [name for name in names if name.startswith("pool")] == [f"pool{i}" for i in range(poolings)]
