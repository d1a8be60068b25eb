"""What the page is told of the layers: their forms, what they give, and their weights."""

import base64
from dataclasses import replace

import numpy as np
import pytest
from starlette.testclient import TestClient

from mnist_jax.data.pictures.mnist_form import to_mnist
from mnist_jax.demo.app import create_app
from mnist_jax.demo.layers import LayerViewer
from mnist_jax.models.soft_vote import SoftVote, join_variables
from tests.demo.pictures import encode, seven


@pytest.fixture(scope="module")
def client(untrained):
    app = create_app(untrained, {})
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


def numbers(text, dtype, shape):
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def test_every_layer_is_described_and_told_for_a_picture(client, untrained):
    layers = client.get("/api/layers").json()["layers"]
    assert [(layer["kind"], tuple(layer["shape"])) for layer in layers] == [
        ("image", (28, 28, 1)),
        ("convolution", (26, 26, 3)),
        ("convolution", (24, 24, 4)),
        ("pooling", (12, 12, 4)),
        ("dense", (8,)),
        ("answers", (10,)),
    ]
    assert layers[3]["rows"][1] == [2, 8] and layers[4]["columns"] == [[0, 28]]
    answer = client.post("/api/layers", content=encode(seven())).json()
    image = to_mnist(seven() / 255)
    known = untrained.recognize([image])[0]
    values = [
        numbers(told["values"], np.uint8, layer["shape"])
        for told, layer in zip(answer["layers"], layers, strict=True)
    ]
    np.testing.assert_array_equal(values[0], np.round(image / image.max() * 255))
    np.testing.assert_allclose(values[1].astype(int), known.activations.astype(int), atol=1)
    pooled = values[2].reshape(12, 2, 12, 2, 4).max(axis=(1, 3))
    np.testing.assert_allclose(values[3].astype(int), pooled.astype(int), atol=1)
    probabilities = values[5] * answer["layers"][5]["strongest"] / 255
    np.testing.assert_allclose(probabilities, known.probabilities, atol=1e-3)
    assert answer["label"] == str(known.probabilities.argmax())


def test_the_last_hidden_layer_speaks_by_its_weights(client, untrained):
    answer = client.post("/api/layers", content=encode(seven())).json()
    dense = answer["layers"][4]
    active = numbers(dense["values"], np.uint8, (8,)) * dense["strongest"] / 255
    label = int(answer["label"])
    weights = client.get(f"/api/weights?layer=5&unit={label}").json()
    assert (weights["height"], weights["width"], weights["channels"]) == (1, 1, 8)
    kernel = numbers(weights["base64"], np.int8, (8,)) * weights["most"] / 127
    np.testing.assert_allclose(
        kernel, untrained.model.variables["params"]["head"]["kernel"][:, label], atol=weights["most"] / 200
    )
    speaks = numbers(dense["speaks"], np.int8, (8,)) * dense["most"] / 127
    np.testing.assert_allclose(speaks, active * kernel, atol=0.02 * max(dense["most"], 1e-3))
    # In the form of the layer before: 12 x 12 of 4 maps.
    weights = client.get("/api/weights?layer=4&unit=0").json()
    assert (weights["height"], weights["width"], weights["channels"]) == (12, 12, 4)


def test_of_an_ensemble_it_is_the_first_members_network(untrained):
    model = untrained.model
    module = SoftVote((model.module, model.module))
    variables = join_variables([model.variables, model.variables])
    image = to_mnist(seven() / 255)
    alone = LayerViewer(model).view(image)
    assert LayerViewer(replace(model, module=module, variables=variables)).view(image) == alone
