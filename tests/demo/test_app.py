"""The app: the page, the two questions, and what becomes of nonsense."""

import asyncio
import base64
import random
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from mnist_jax.data.pictures.mnist_form import to_mnist
from mnist_jax.demo import app as app_module
from mnist_jax.demo import guard
from mnist_jax.demo.about import describe_model
from mnist_jax.demo.app import create_app
from mnist_jax.demo.recognition import BATCH_SIZES, Recognizer, first_layer
from mnist_jax.models.cnn import CNN
from mnist_jax.models.soft_vote import SoftVote, join_variables
from tests.demo.pictures import encode, seven

NUM_MALFORMED = 1000


@pytest.fixture
def client(untrained, tmp_path):
    app = create_app(untrained, describe_model(tmp_path / "my run", untrained))
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


class References(HTMLParser):
    """What a page loads."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href")]


def test_the_page_loads_only_what_is_served_here(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    references = References()
    references.feed(page.text)
    found = set(references.found)
    while new := {name for script in found for name in imports(client, script)} - found:
        found |= new
    own = {"answer.js", "demo.css", "demo.js", "icon.svg", "network.js", "pad.js", "planes.js", "scene.js"}
    own |= {"colors.js", "steps.js", "still.js", "unit.js", "view.js"}
    three = {"three/three.core.min.js", "three/three.module.min.js"}
    assert found == own | three
    for name in found:
        assert client.get(f"/{name}").headers["x-content-type-options"] == "nosniff"
    for name in own:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", answer.text), name
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def imports(client, script):
    """What a script of the page imports, as paths below its root."""
    text = client.get(f"/{script}").text if script.endswith(".js") else ""
    folder = script.rpartition("/")[0]
    names = re.findall(r'(?:from|import\() ?"\./([\w./]+)"', text)
    return {f"{folder}/{name}" if folder else name for name in names}


def test_model_tells_what_the_page_needs_and_no_path(client, tmp_path):
    facts = client.get("/api/model").json()
    assert facts == {
        "class_names": list("0123456789"),
        "image_shape": [28, 28, 1],
        "num_maps": 3,
        "reads_pages": True,
        "step": 7,
        "run": "my run",
        "dataset": "mnist",
        "notice": "",
        "num_test": 10_000,
        "test_accuracy": None,
    }


@pytest.mark.parametrize(("final_step", "expected"), [(7, 0.99), (8, None)])
def test_accuracy_is_told_only_of_the_step_it_was_measured_at(untrained, tmp_path, final_step, expected):
    (tmp_path / "summary.json").write_text(f'{{"final_step": {final_step}, "test_accuracy": 0.99}}')
    assert describe_model(tmp_path, untrained)["test_accuracy"] == expected


def decode(pixels):
    shape = (pixels["height"], pixels["width"], pixels["channels"])
    return np.frombuffer(base64.b64decode(pixels["base64"]), np.uint8).reshape(shape)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_recognize_answers_what_the_model_says_of_the_picture_in_mnists_form(client, untrained, kind):
    response = client.post("/api/recognise", content=encode(seven(), kind))
    assert response.status_code == 200
    answer = response.json()
    given = decode(answer["image"])
    np.testing.assert_array_equal(given, to_mnist(seven() / 255))
    expected = untrained.model.predict(given)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    assert answer["label"] == str(expected.argmax())
    # The ten classes are about as likely as each other.
    best, second = np.argsort(-expected, kind="stable")[:2]
    assert answer["unsure"] is True
    assert answer["reason"] in ("no single digit", f"unsure: {best} or {second}?")


def test_the_digits_of_a_page_are_told_with_their_boxes(client):
    page = np.full((200, 300), 255, np.uint8)
    for left in (30, 170):
        page[60:160, left : left + 100] = seven(100)
    answer = client.post("/api/digits", content=encode(page)).json()
    assert (answer["height"], answer["width"]) == (200, 300)
    assert len(answer["digits"]) == 2 and len(answer["text"]) == 1 and len(answer["text"][0]) == 2
    for digit, left in zip(answer["digits"], (30, 170), strict=True):
        np.testing.assert_allclose(digit["box"], [80, left + 25, 140, left + 75], atol=4)
        assert digit["line"] == 0 and digit["unsure"] == bool(digit["reason"])
    assert "blank" in client.post("/api/digits", content=encode(page[:50])).json()["error"]


def test_every_step_is_told_where_it_is_asked_for(client):
    picture = encode(seven(100))
    steps = client.post("/api/steps", content=picture).json()["steps"]
    names = [step["name"] for step in steps]
    assert names[0] == "as given" and names[-1] == "what the network was given"
    assert len(set(names)) == len(names) >= 5
    assert decode(steps[0]).shape == (100, 100, 3)
    answer = client.post("/api/recognise", content=picture).json()
    assert {name: steps[-1][name] for name in answer["image"]} == answer["image"] and "steps" not in answer
    blank = client.post("/api/steps", content=encode(np.full((50, 50), 9, np.uint8)))
    assert blank.status_code == 200
    assert [step["name"] for step in blank.json()["steps"]] == names[:2] + ["light divided out"]
    for body, status, message in ((b"", 400, "the body is empty"), (b"seven", 422, "not a picture")):
        response = client.post("/api/steps", content=body)
        assert response.status_code == status and message in response.json()["error"]


def test_activations_are_those_of_the_first_relu(client, untrained):
    answer = client.post("/api/recognise", content=encode(seven())).json()
    params = untrained.model.variables["params"]["conv0"]
    image = decode(answer["image"])[..., 0] / 255
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3))
    # Untrained BatchNorm only divides by sqrt(1 + epsilon), which the scaling to 255 takes out again.
    maps = np.maximum(np.einsum("yxij,ijf->yxf", windows, np.asarray(params["kernel"])[:, :, 0]), 0)
    np.testing.assert_allclose(decode(answer["activations"]), maps / maps.max() * 255, atol=1)


def test_first_layer_of_other_networks():
    assert first_layer(CNN(features=(5,), pool_after=()), (28, 28, 1)) == ("conv0", 5)
    assert first_layer(SoftVote((CNN(features=(5,)), CNN(features=(6,)))), (28, 28, 1)) == ("conv0", 5)
    assert first_layer(CNN(features=()), (28, 28, 1)) == ("", 0)


@pytest.mark.parametrize("kind", ["ensemble", "dense"])
def test_other_networks_are_answered_too(untrained, kind):
    from dataclasses import replace

    import jax
    import jax.numpy as jnp

    model = untrained.model
    if kind == "ensemble":
        module = SoftVote((model.module, model.module))
        variables = join_variables([model.variables, model.variables])
    else:
        module = CNN(features=(), dense_features=4)
        variables = module.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    image = to_mnist(seven() / 255)
    answer = Recognizer(replace(model, module=module, variables=variables)).recognize([image])[0]
    assert (answer.activations is None) == (kind == "dense")
    if kind == "ensemble":
        alone = untrained.recognize([image])[0]
        np.testing.assert_allclose(answer.probabilities, alone.probabilities, atol=1e-6)
        np.testing.assert_array_equal(answer.activations, alone.activations)


def test_others_in_the_batch_change_nothing(untrained):
    images = [to_mnist(np.roll(seven(), shift, 0) / 255) for shift in range(BATCH_SIZES[-1])]
    together = untrained.recognize(images)
    assert len(together) == len(images) > 1
    for image, answer in zip(images, together, strict=True):
        np.testing.assert_allclose(
            answer.probabilities, untrained.recognize([image])[0].probabilities, atol=1e-6
        )


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "message"),
    [
        ("GET", "/nothing", b"", 404, "there is nothing here"),
        ("GET", "/api/recognise/", b"", 404, "there is nothing here"),
        ("GET", "/../pyproject.toml", b"", 404, "there is nothing here"),
        ("GET", "/api/recognise", b"", 405, "this method is not for this path"),
        ("DELETE", "/", b"", 405, "this method is not for this path"),
        ("POST", "/api/recognise", b"", 400, "the body is empty"),
        ("POST", "/api/layers", b"seven", 422, "not a picture"),
        ("GET", "/api/weights?layer=1", b"", 400, "expected numbers"),
        ("GET", "/api/weights?layer=0&unit=0", b"", 404, "layer 0 has no weights"),
        ("GET", "/api/weights?layer=1&unit=3", b"", 404, "layer 1 has no weights of a unit 3"),
        ("POST", "/api/recognise", b"seven", 422, "not a picture"),
        ("POST", "/api/recognise", encode(seven())[:200], 422, "the picture"),
        ("POST", "/api/recognise", encode(np.full((50, 50), 9, np.uint8)), 422, "blank"),
        ("POST", "/api/recognise", encode(np.full((50, 50), np.nan, np.float32), "TIFF"), 422, "the picture"),
    ],
)
def test_a_refusal_says_why(client, method, path, content, status, message):
    response = client.request(method, path, content=content)
    assert response.status_code == status
    assert message in response.json()["error"]
    assert "content-security-policy" in response.headers


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_body_is_refused(client, monkeypatch, announced):
    monkeypatch.setattr(app_module, "MAX_BODY_BYTES", 2**20)
    content = b"\0" * (2**20 + 1)
    body = content if announced else iter([content[:9], content[9:]])
    response = client.post("/api/recognise", content=body)
    assert response.status_code == 413
    assert response.json() == {"error": "the picture is larger than the 1 MiB accepted"}


def test_pages_and_names_from_elsewhere_are_refused(client):
    picture = encode(seven())
    assert client.get("/", headers={"Host": "rebound.example:8000"}).status_code == 421
    for origin in ("http://rebound.example", "null", "http://127.0.0.1:9000", "http://["):
        response = client.post("/api/recognise", content=picture, headers={"Origin": origin})
        assert response.status_code == 403
    same = client.post("/api/recognise", content=picture, headers={"Origin": "http://127.0.0.1:8000"})
    assert same.status_code == 200


def test_a_fault_of_the_server_is_told_without_its_inside(client, untrained, monkeypatch, caplog):
    def read(content):
        raise RuntimeError("secret")

    monkeypatch.setattr(untrained, "read", read)
    response = client.post("/api/recognise", content=b"x")
    assert response.status_code == 500
    assert response.json() == {"error": "a fault of the server; its log says more"}
    assert "secret" in caplog.text


def malformed(chance):
    """One request that is wrong somewhere: method, path, query, headers or body."""
    kinds = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
    good = encode(seven(chance.choice((4, 28, 120))), chance.choice(kinds))
    what = chance.randrange(6)
    method, path, headers, body = "POST", "/api/recognise", {}, good
    if what == 0:
        method = chance.choice(("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "FROB", "post"))
    elif what == 1:
        path = "/a" + "".join(
            chance.choice("api/recogns.%\\~!é\u2028 ") for _ in range(chance.randrange(1, 40))
        )
    elif what == 2:
        name = chance.choice(("Host", "Origin", "Content-Type", "Content-Encoding", "X-Forwarded-Host"))
        headers = {name: "".join(chance.choice("http:/[]@%.1aé") for _ in range(20)).encode("latin-1")}
    elif what == 3:
        body = bytes(chance.randrange(256) for _ in range(chance.randrange(200)))
    elif what == 4:
        body = good[: chance.randrange(len(good))]
    else:
        damaged = bytearray(good)
        for _ in range(chance.randrange(1, 20)):
            damaged[chance.randrange(min(len(damaged), chance.choice((40, 10**6))))] = chance.randrange(256)
        body = bytes(damaged)
    return {"method": method, "url": path, "headers": headers, "content": body}


def test_a_large_body_makes_room_for_small_ones():
    bodies = guard.Bodies(small_bytes=2**20, all_bytes=0, seconds=30)

    async def read(size):
        async def receive():
            return {"type": "http.request", "body": b"x" * size, "more_body": False}

        async with bodies.read(Request({"type": "http"}, receive), 2**24) as content:
            return len(content)

    assert asyncio.run(read(2**20)) == 2**20
    with pytest.raises(HTTPException, match="too many large pictures"):
        asyncio.run(read(2**20 + 1))
    assert bodies._held == 0


def test_malformed_requests_are_never_the_servers_fault(client):
    chance = random.Random(0)
    statuses = set()
    for number in range(NUM_MALFORMED):
        request = malformed(chance)
        response = client.request(**request)
        statuses.add(response.status_code)
        assert response.status_code < 500, (number, request)
        if response.status_code >= 400 and request["method"] != "HEAD":
            assert list(response.json()) == ["error"], (number, request)
    assert {400, 403, 404, 405, 421, 422} <= statuses
