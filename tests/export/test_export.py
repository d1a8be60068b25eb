"""An exported file gives the model's answers with nothing of this package, and is never written unchecked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax import cli
from mnist_jax.errors import RunError
from mnist_jax.export import __main__ as export
from mnist_jax.export import predict_function
from mnist_jax.export.onnx import from_onnx, to_onnx
from mnist_jax.export.predict_function import (
    check_predictions,
    describe_model,
    images_to_check_on,
    make_predict_function,
)
from mnist_jax.export.stablehlo import from_stablehlo, to_stablehlo
from tests.programs import QUICKLY_COMPILED

SHAPE = (28, 28, 1)
NEEDS_ONNX = "needs the packages onnx and onnxruntime (the extra onnx)"


@pytest.fixture
def run_export(small_run, small_model, capsys, monkeypatch):
    """Gives `run(*words)`: exit code, standard output, stderr."""
    monkeypatch.setattr("mnist_jax.run.load.load", lambda workdir, checkpoint: small_model)

    def run(*words):
        code = cli.run_main(export.main, export.COMMAND, [f"--workdir={small_run}", *map(str, words)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def digits():
    from mnist_jax.data import load_splits

    return load_splits("mnist_5k").test.images[:300]


@pytest.fixture(params=["stablehlo", "onnx"])
def file_format(request) -> str:
    if request.param == "onnx":
        pytest.importorskip("onnxruntime", reason=NEEDS_ONNX)
    return request.param


def reload(path: Path, file_format: str):
    content = path.read_bytes()
    return from_onnx(content) if file_format == "onnx" else from_stablehlo(content)[0]


def metadata_of(path: Path, file_format: str) -> dict:
    if file_format == "stablehlo":
        return json.loads(path.read_bytes().splitlines()[-1])
    import onnx

    texts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return {
        key: text if key in ("producer", "model", "git_commit") else json.loads(text)
        for key, text in texts.items()
    }


def test_the_file_answers_as_the_model_for_any_number_of_images(
    run_export, file_format, small_model, digits, tmp_path
):
    path = tmp_path / "m"
    code, out, err = run_export(f"--format={file_format}", f"--out={path}")
    assert (code, err) == (0, "")
    assert out.startswith(f"{path}: {file_format}, {path.stat().st_size:,} bytes\n")
    assert os.listdir(tmp_path) == ["m"]
    predict = reload(path, file_format)
    expected = small_model.predict(digits)
    for count in (1, 2, 300):
        found = np.asarray(predict(digits[:count]))
        assert (found.dtype, found.shape) == (np.float32, (count, 10))
        np.testing.assert_allclose(found, expected[:count], atol=1e-5)
        np.testing.assert_array_equal(found.argmax(axis=1), expected[:count].argmax(axis=1))


def test_the_file_tells_what_it_is(run_export, file_format, small_run, small_model, tmp_path):
    path = tmp_path / "m"
    code, out, _ = run_export("--format", file_format, "--out", path, "--json")
    assert code == 0
    summary = json.loads((small_run / "summary.json").read_text())
    metadata = metadata_of(path, file_format)
    facts = json.loads(out)
    assert facts["metadata"] == metadata
    assert facts["max_probability_difference"] <= 1e-4
    assert metadata["labels"] == [str(digit) for digit in range(10)]
    assert metadata["test_accuracy"] == summary["test_accuracy"]
    assert metadata["test_errors"] == summary["test_errors"]
    assert metadata["trained_with"]["versions"] == summary["versions"]
    assert metadata["step"] == small_model.step
    assert metadata["input"]["shape"] == [None, 28, 28, 1]
    assert metadata["versions"]["jax"] == jax.__version__
    assert metadata["dataset"]["name"] == "mnist_5k"
    assert str(small_run) not in json.dumps(metadata)


READ_WITH_JAX_ALONE = """
import sys
for package in ("mnist_jax", "flax", "optax", "orbax", "ml_collections", "jaxtyping"):
    sys.modules[package] = None
import jax.export, numpy
exported = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
assert exported.platforms == ("cpu", "cuda", "tpu"), exported.platforms
assert exported.nr_devices == 1
numpy.save(sys.argv[3], exported.call(numpy.load(sys.argv[2])))
"""


def test_stablehlo_is_read_with_jax_alone(run_export, small_model, digits, tmp_path):
    assert run_export("--out", tmp_path / "m")[0] == 0
    np.save(tmp_path / "in.npy", digits[:5])
    words = [tmp_path / "m", tmp_path / "in.npy", tmp_path / "out.npy"]
    command = [sys.executable, "-c", READ_WITH_JAX_ALONE, *map(str, words)]
    subprocess.run(
        command, env={**os.environ, "XLA_FLAGS": QUICKLY_COMPILED}, cwd=tmp_path, check=True, timeout=120
    )
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), small_model.predict(digits[:5]), atol=1e-5)


# --- What is checked before a file is written ---


def test_an_export_that_differs_is_not_written(run_export, file_format, monkeypatch, tmp_path):
    path = tmp_path / "m"
    path.write_text("old")
    true_function = predict_function.make_predict_function

    def wrong_function(model):
        return lambda images: 1 - true_function(model)(images)

    monkeypatch.setattr(predict_function, "make_predict_function", wrong_function)
    code, out, err = run_export("--format", file_format, "--out", path)
    assert (code, out) == (1, "")
    assert "differs from the model" in err
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p + np.float32(2e-4), "differs from the model by 2.0e-04"),
        (lambda p: p * np.float32(np.nan), "differs"),
        (lambda p: p[:, :9], "gives"),
        (lambda p: p[:1], "gives"),
    ],
)
def test_every_difference_is_found(small_model, change, message):
    images = images_to_check_on(SHAPE)[:8]
    with pytest.raises(RunError, match=message):
        check_predictions(lambda x: change(small_model.predict(x)), small_model, images)
    assert check_predictions(small_model.predict, small_model, images) < 1e-6


def test_images_to_check_on_vary():
    for shape in (SHAPE, (17, 9, 3)):
        images = images_to_check_on(shape)
        assert (images.dtype, images.shape) == (np.uint8, (512, *shape))
        assert len({image.tobytes() for image in images}) > 500


# --- Faults of the command line and the place ---


def test_a_place_that_cannot_be_written_is_told_before_the_work(run_export, tmp_path, monkeypatch):
    monkeypatch.setattr("mnist_jax.run.load.load", lambda *_: pytest.fail("loaded all the same"))
    code, _, err = run_export("--out", tmp_path)
    assert (code, err) == (2, f"error: --out: {tmp_path} is a folder; expected the name of a file\n")
    code, _, err = run_export("--out", tmp_path / "none" / "m")
    assert code == 1
    assert "there is no folder" in err


def test_wrong_formats_and_no_out_are_wrong_usage(run_export, tmp_path):
    code, _, err = run_export("--format=tflite")
    assert code == 2
    assert "--format" in err
    assert "--out: is missing" in err


def test_missing_packages_are_named(run_export, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, err = run_export("--format=onnx", "--out", tmp_path / "m")
    assert code == 1
    assert err.count("\n") == 1
    assert "pip install 'mnist-jax[onnx]'" in err
    assert os.listdir(tmp_path) == []


# --- Other networks ---


def test_lesser_dtypes_are_exported_in_float32(small_model, digits):
    import dataclasses

    half = dataclasses.replace(small_model, module=small_model.module.clone(dtype="bfloat16"))
    predict = jax.jit(make_predict_function(half))
    np.testing.assert_allclose(predict(digits), small_model.predict(digits), atol=1e-5)
    assert check_predictions(predict, half, digits) < 1e-5


@pytest.mark.parametrize("name", ["onnx", "stablehlo"])
def test_an_ensemble_is_exported_as_one_network(small_model, digits, name):
    import dataclasses

    from mnist_jax.models.soft_vote import SoftVote, join_variables

    if name == "onnx":
        pytest.importorskip("onnxruntime", reason=NEEDS_ONNX)
    other = jax.tree.map(lambda x: x * 0.9, small_model.variables)
    both = dataclasses.replace(
        small_model,
        module=SoftVote((small_model.module, small_model.module)),
        variables=join_variables([small_model.variables, other]),
    )
    function = make_predict_function(both)
    if name == "onnx":
        predict = from_onnx(to_onnx(function, SHAPE, {}))
    else:
        predict = from_stablehlo(to_stablehlo(function, SHAPE, {}))[0]
    assert check_predictions(predict, both, digits) < 1e-5


def test_metadata_of_a_checkpoint_that_was_not_measured(small_model, tmp_path):
    metadata = describe_model(small_model, tmp_path)
    assert (metadata["test_accuracy"], metadata["test_errors"]) == (None, None)


# --- Translation to ONNX ---


def padded(images):
    dimensions = ("NHWC", "HWIO", "NHWC")
    kernel = jnp.linspace(-1, 1, 3 * 2 * 2 * 6).reshape(3, 2, 2, 6)
    x = jax.lax.conv_general_dilated(
        images,
        kernel,
        (2, 1),
        "SAME",
        rhs_dilation=(1, 2),
        dimension_numbers=dimensions,
        feature_group_count=2,
    )
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 2, 1), (1, 2, 1, 1), "SAME")


FUNCTIONS = {
    "elementwise": lambda x: jnp.tanh(
        jnp.sqrt(jnp.abs(-x)) ** 3 + jnp.exp(-x) * jax.nn.sigmoid(x) - 2 / (1 + x)
    ),
    "comparisons": lambda x: jnp.where((x > 0.3) & jnp.isfinite(x), jnp.minimum(x, 0.5), jnp.square(x)),
    "reductions": lambda x: (
        x.sum(axis=(1, 2)) + x.max(axis=(1, 2)) - x.min(axis=(1, 2)) + x.mean(axis=(1, 2))
    ),
    "normalization": lambda x: jax.nn.log_softmax(x) + jax.nn.logsumexp(x, axis=(1, 2, 3), keepdims=True),
    "products": lambda x: jnp.einsum("nhwc,nhvc->nwv", x, x) @ jnp.ones((5, 3)),
    "broadcast": lambda x: (
        jnp.concatenate([x, jnp.broadcast_to(x.max(axis=1, keepdims=True), x.shape)], axis=-1)
        * jnp.arange(8.0)
    ),
    "constant of the batch's size": lambda x: (
        jnp.full((x.shape[0], 3), 0.25) + x.mean(axis=(1, 2, 3))[:, None]
    ),
    "convolution and pooling": padded,
    "stack": lambda x: jnp.stack([x, jnp.sign(x - 0.5), -x], axis=2),
    "slices": lambda x: jax.lax.slice(x, (0, 1, 0, 2), (x.shape[0], 6, 4, 3), (1, 2, 1, 1)).squeeze(3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_keep_their_meaning(name):
    pytest.importorskip("onnxruntime", reason=NEEDS_ONNX)

    def function(images):
        result = FUNCTIONS[name](images.astype(jnp.float32) / 255)
        return result.reshape(result.shape[0], -1)

    images = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 4), dtype=np.uint8)
    translated = from_onnx(to_onnx(function, images.shape[1:], {}))
    for count in (3, 1):
        np.testing.assert_allclose(translated(images[:count]), function(images[:count]), rtol=2e-5, atol=2e-5)


def test_an_unknown_operation_is_named():
    pytest.importorskip("onnxruntime", reason=NEEDS_ONNX)
    with pytest.raises(RunError, match="no translation for the operation 'cumsum'"):
        to_onnx(lambda x: jnp.cumsum(x.astype(jnp.float32).reshape(-1, 4), axis=1), (2, 2, 1), {})
