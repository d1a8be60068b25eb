"""Networks by name, and the table of a network's layers."""

import jax
import jax.numpy as jnp
import pytest

from mnist_jax.models.cnn import CNN
from mnist_jax.models.registry import MODELS, create_model, summarize_layers, with_plain_convolutions


def test_the_table_is_keras_table():
    # Parameters of each block as keras' model.summary() has them for its layers, statistics included.
    assert summarize_layers(CNN(), (28, 28, 1)) == [
        ("conv0", "ConvBlock", (None, 26, 26, 32), 320 + 128),
        ("conv1", "ConvBlock", (None, 12, 12, 32), 9_248 + 128),
        ("conv2", "ConvBlock", (None, 10, 10, 64), 18_496 + 256),
        ("conv3", "ConvBlock", (None, 4, 4, 64), 36_928 + 256),
        ("dense", "DenseBlock", (None, 512), 524_800 + 2_048),
        ("Dropout_0", "Dropout", (None, 512), 0),
        ("head", "Dense", (None, 10), 5_130),
    ]


def test_networks_are_made_by_name():
    assert create_model("cnn", 26, features=(8,), dropout_rate=0.5) == CNN(26, (8,), dropout_rate=0.5)
    assert "cnn" in MODELS
    with pytest.raises(ValueError, match="'resnet' is not known; expected one of cnn"):
        create_model("resnet", 10)


@pytest.mark.parametrize("name", MODELS)
def test_a_misspelled_field_is_refused(name):
    with pytest.raises(TypeError, match="featuers: CNN has no such field"):
        create_model(name, 10, featuers=(8,))


# Kernels and BatchNorm as in the networks' published code, plus a bias for each channel of a convolution.
@pytest.mark.parametrize(
    ("name", "features", "kernel", "flat"),
    [
        ("simple_m3", (32, 48, 64, 80, 96, 112, 128, 144, 160, 176), 3, 11264),
        ("simple_m5", (32, 64, 96, 128, 160), 5, 10240),
        ("simple_m7", (48, 96, 144, 192), 7, 3072),
    ],
)
def test_the_named_networks_have_the_published_sizes(name, features, kernel, flat):
    # Sizes meant for the article's network are no business of these.
    model = create_model(name, 10, features=(1,), kernel_size=9, dense_features=3, dropout_rate=0.5)
    images = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    kernels = [params[f"conv{i}"]["kernel"].shape for i in range(len(features))]
    assert kernels == [(kernel, kernel, a, b) for a, b in zip((1, *features), features, strict=False)]
    assert {key: leaf.shape for key, leaf in params["head"].items()} == {"kernel": (flat, 10)}


def test_plain_convolutions_are_of_the_same_network(tiny_model, tiny_perceptron):
    plain = with_plain_convolutions(tiny_model)
    assert (tiny_model.conv, plain.conv) == ("gemm", "lax") and plain.clone(conv="gemm") == tiny_model
    assert with_plain_convolutions(create_model("simple_m5", 10, conv="gemm")).conv == "lax"
    assert with_plain_convolutions(tiny_perceptron) is tiny_perceptron
