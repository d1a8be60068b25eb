"""Every layer of any network: which there are, what they see, and how they speak for the answer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnist_jax.models.cnn import CNN
from mnist_jax.models.layer_outputs import explain_layers, find_layers, layer_weights, receptive_fields

SHAPE = (12, 10, 1)


class Own(nn.Module):
    """A person's network: layers inside layers, a pooling module, one layer used twice, one without form."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.relu(nn.Conv(3, (3, 3), strides=(2, 2), padding="VALID", name="first")(images))
        x = Inner(name="inner")(x)
        twice = nn.Dense(10, name="twice")
        x = nn.relu(twice(nn.relu(twice(x.reshape(x.shape[0], -1)))))
        nn.Dense(2, name="sequence")(jnp.zeros((1, 5, 3, 2, 2)))
        return nn.Dense(4, name="last")(x)


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True)(nn.Conv(5, (2, 2), padding="VALID", name="deep")(x))
        return nn.Dropout(0.5, deterministic=True)(Pool(name="pool")(x))


class Pool(nn.Module):
    def __call__(self, x):
        return nn.max_pool(x, (2, 2), (2, 2))


def made(module, shape=SHAPE):
    return module, module.init(jax.random.key(0), jnp.zeros((1, *shape)))


def test_layers_of_a_persons_own_network():
    module, _ = made(Own())
    assert [(layer.name, layer.kind, layer.shape) for layer in find_layers(module, SHAPE)] == [
        ("first", "convolution", (5, 4, 3)),
        ("inner/deep", "convolution", (4, 3, 5)),
        ("inner/pool", "Pool", (2, 1, 5)),
        ("twice", "dense", (10,)),
        ("last", "dense", (4,)),
    ]


def test_receptive_fields_follow_strides_and_poolings():
    module, variables = made(Own())
    layers = find_layers(module, SHAPE)
    fields = receptive_fields(module, variables, SHAPE, layers)
    (first_rows, _), (deep_rows, deep_columns), (pool_rows, pool_columns), (all_rows, all_columns), _ = fields
    assert first_rows.tolist() == [[0, 3], [2, 5], [4, 7], [6, 9], [8, 11]]
    assert deep_rows.tolist() == [[0, 5], [2, 7], [4, 9], [6, 11]]
    assert deep_columns.tolist() == [[0, 5], [2, 7], [4, 9]]
    assert pool_rows.tolist() == [[0, 7], [4, 11]] and pool_columns.tolist() == [[0, 7]]
    # The third column of `deep` is pooled away, and with it what it alone sees.
    assert all_rows.tolist() == [[0, 11]] and all_columns.tolist() == [[0, 7]]


def test_what_speaks_for_the_answer_is_what_is_gone_without_it():
    module, variables = made(CNN(features=(3,), pool_after=(0,), dense_features=8), (12, 12, 1))
    layers = tuple(find_layers(module, (12, 12, 1)))
    assert [layer.kind for layer in layers] == ["convolution", "pooling", "dense", "dense"]
    tones = jnp.asarray(np.random.default_rng(0).random((12, 12, 1)), jnp.float32)
    logits, activations, speaks = explain_layers(module, variables, tones, layers)
    label = int(logits.argmax())
    kernel = variables["params"]["head"]["kernel"]
    # Untrained biases are zero, so each layer's parts add up to the logit.
    for parts in (speaks[1], speaks[2], speaks[3]):
        np.testing.assert_allclose(float(parts.sum()), float(logits[label]), rtol=1e-3)
    np.testing.assert_allclose(speaks[3], activations[3] * kernel[:, label], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(activations[0], tones)
    np.testing.assert_array_equal(layer_weights(variables, layers[-1], label), kernel[:, label])
    first = layer_weights(variables, layers[0], 2)
    np.testing.assert_array_equal(first, variables["params"]["conv0"]["kernel"][..., 2])
    assert layer_weights(variables, layers[1], 0) is None
    assert layer_weights(variables, layers[0], 3) is None
