"""Training from Python: what it takes, what it returns, and what it says of what is wrong."""

import functools
import gc
import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

import mnist_jax
from mnist_jax.config import load_config_file
from mnist_jax.errors import ConfigError, DataError, MnistJaxError
from mnist_jax.run.log import RunLog
from tests.api.conftest import TINY, Perceptron
from tests.trees import assert_same_bits


def test_three_lines_train_on_arrays(tiny_run, arrays):
    test_images, test_labels = arrays[2]
    assert tiny_run.finished and tiny_run.summary["final_step"] == 24
    assert tiny_run.summary["dataset"]["num_train"] == 64
    assert tiny_run.summary["test_accuracy"] > 0.5
    hits = mnist_jax.predict(tiny_run, test_images).argmax(axis=1) == test_labels
    assert hits.mean() == pytest.approx(tiny_run.summary["test_accuracy"])
    assert (tiny_run.workdir / "config.json").is_file()


def test_the_history_has_columns_of_one_length(tiny_run):
    history = tiny_run.history
    (length,) = {len(column) for column in history.values()}
    assert history["split"] == ["train", "test"] * 3 and history["epoch"] == [1, 1, 2, 2, 3, 3]
    assert length == 6 and history["step"][-1] == 24
    assert history["accuracy"][-1] == pytest.approx(tiny_run.summary["test_accuracy"])
    # What a line does not have is NaN, so that a column is of numbers.
    assert math.isnan(history["learning_rate"][1]) and history["learning_rate"][0] > 0


def test_the_model_is_what_load_gives(tiny_run, arrays):
    loaded = mnist_jax.load(tiny_run.workdir)
    assert_same_bits(tiny_run.model.variables, loaded.variables)
    assert tiny_run.model.step == loaded.step == 24
    assert tiny_run.model.module == loaded.module == Perceptron(num_classes=3)
    np.testing.assert_array_equal(tiny_run.model.predict(arrays[0]), loaded.predict(arrays[0]))


def test_it_starts_from_another_run_and_leaves_frozen_layers_as_they_are(tiny_run, arrays, tmp_path):
    start = functools.partial(mnist_jax.train, *arrays[:2], test=arrays[2], model=Perceptron)
    settings = {**TINY, "num_epochs": 1, "init.freeze": "Dense_0,BatchNorm_0"}
    tuned = start(init_from=tiny_run.workdir, **settings)
    before, after = tiny_run.model.variables, tuned.model.variables
    for layer in ("Dense_0", "BatchNorm_0"):
        assert_same_bits(after["params"][layer], before["params"][layer])
    assert_same_bits(after["batch_stats"], before["batch_stats"])
    assert (after["params"]["Dense_1"]["kernel"] != before["params"]["Dense_1"]["kernel"]).any()
    with pytest.raises(MnistJaxError, match="init.run: .*nothing does not exist"):
        start(init_from=tmp_path / "nothing", **settings)


def test_it_shows_itself(tiny_run):
    accuracy = f"{100 * tiny_run.summary['test_accuracy']:.2f}%"
    assert f"test accuracy {accuracy}" in repr(tiny_run) and str(tiny_run.workdir) in repr(tiny_run)
    html = tiny_run._repr_html_()
    assert f"<b>test accuracy {accuracy}" in html and html.count("<tr>") == 4


def test_the_report_is_a_page_also_where_the_person_wants_it(tiny_run, tmp_path):
    written = tiny_run.report(tmp_path / "mine.html")
    text = written.read_text()
    assert written == tmp_path / "mine.html" and "</html>" in text
    assert "Dense_0" in text, "the layers of one's own network are shown"


def test_evaluate_measures_a_run_a_model_and_a_folder(tiny_run, arrays):
    images, labels = arrays[2]
    expected = tiny_run.summary["test_accuracy"]
    assert mnist_jax.evaluate(tiny_run).accuracy == pytest.approx(expected)
    assert mnist_jax.evaluate(tiny_run.model, images, labels).accuracy == pytest.approx(expected)
    result = mnist_jax.evaluate(tiny_run.workdir, images / 255, [str(label) for label in labels])
    assert (result.num_examples, result.errors) == (len(labels), tiny_run.summary["test_errors"])
    assert np.sum(result.confusion_matrix) == len(labels)


def test_predict_takes_arrays_of_any_size_and_files(tiny_run, arrays, tmp_path):
    from PIL import Image

    images = arrays[2][0]
    expected = mnist_jax.predict(tiny_run, images)
    assert expected.shape == (len(images), 3) and expected.dtype == np.float32
    assert mnist_jax.predict(tiny_run, images[0]).shape == (3,)
    # As twice the size, each pixel four times: the run's own preparation brings it back.
    larger = images[:4].repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(mnist_jax.predict(tiny_run, larger), expected[:4], atol=0.05)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image[..., 0]).save(path)
    np.testing.assert_allclose(mnist_jax.predict(tiny_run, paths), expected[:2], atol=1e-6)
    assert mnist_jax.predict(tiny_run, str(paths[0])).shape == (3,)


def test_predict_and_evaluate_say_what_is_wrong(tiny_run, arrays, tmp_path):
    images, labels = arrays[2]
    (tmp_path / "no.png").write_text("no picture")
    for call, message in (
        (lambda: mnist_jax.predict(tiny_run, np.zeros((2, 10, 9, 5))), "5 channels; expected 1"),
        (lambda: mnist_jax.predict(tiny_run, ["a", 3]), "images: "),
        (lambda: mnist_jax.predict(tiny_run, tmp_path / "no.png"), "no.png"),
        (lambda: mnist_jax.evaluate(tiny_run, images, labels[:-1]), "19 images and 18 labels"),
        (lambda: mnist_jax.evaluate(tiny_run, images, labels + 1), "expected 0 to 2"),
        (lambda: mnist_jax.evaluate(tiny_run, images, ["x"] * len(labels)), "'x' is no class"),
        (lambda: mnist_jax.evaluate(tiny_run, images), "labels"),
    ):
        with pytest.raises(DataError, match=message):
            call()


def test_a_temporary_folder_lives_as_long_as_the_run(arrays):
    images, labels, test = arrays
    run = mnist_jax.train(images, labels, test=test, model=Perceptron, **{**TINY, "num_epochs": 1})
    folder = run.workdir
    assert folder.is_dir()
    del run
    gc.collect()
    assert not folder.exists()


def test_floats_other_shapes_and_a_drawn_test_set(arrays, capsys):
    images, labels, _ = arrays
    names = np.array(["bar", "dot", "ring"])[labels]
    run = mnist_jax.train(
        images[..., 0] / 255, names, model=Perceptron, optimizer=optax.sgd(0.1), **{**TINY, "num_epochs": 1}
    )
    facts = json.loads((run.workdir / "config.json").read_text())["run"]
    assert facts["class_names"] == ["bar", "dot", "ring"] and facts["image_shape"] == [10, 9, 1]
    # A fifth, over all classes, and the very pixels.
    assert (facts["dataset"]["num_train"], facts["dataset"]["num_test"]) == (51, 13)
    assert any("drawn for it, over all classes" in remark for remark in facts["dataset"]["remarks"])
    assert np.load(run.workdir / "arrays" / "x_train.npy").dtype == np.uint8
    # The rate of a given optimizer is known to it alone.
    assert np.isnan(run.history["learning_rate"]).all()
    assert capsys.readouterr().out == ""
    assert mnist_jax.load(run.workdir).step == 6


@pytest.mark.parametrize(
    "config",
    ["smoke", load_config_file("smoke"), Path("configs/smoke.py"), {"data": {"name": "mnist_5k"}}],
    ids=["name", "ConfigDict", "file", "mapping"],
)
def test_a_configuration_and_settings(config, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    asked = {}

    def train_and_evaluate(config, workdir, console, **given):
        asked.update(config=config, **given)
        raise DataError("enough")

    monkeypatch.setattr("mnist_jax.api.training.train_and_evaluate", train_and_evaluate)
    with pytest.raises(DataError, match="enough"):
        mnist_jax.train(
            config, num_epochs=7, model="simple_m5", optimizer="sgd", **{"optim.learning_rate": 0.25}
        )
    config = asked["config"]
    assert (config.num_epochs, config.optim.learning_rate, config.data.name) == (7, 0.25, "mnist_5k")
    assert (config.model.name, config.optim.name) == ("simple_m5", "sgd")
    assert asked["model"] is None and asked["optimizer"] is None


def call(*args, **kwargs):
    return functools.partial(mnist_jax.train, *args, progress=False, **kwargs)


IMAGES, LABELS = np.zeros((6, 28, 28), np.uint8), np.array([0, 1, 2, 0, 1, 2])
WRONG = {
    "no labels": (call(IMAGES), DataError, "labels: are missing"),
    "counts": (call(IMAGES, LABELS[:-1]), DataError, "images holds 6 images but labels 5 labels"),
    "swapped": (call(LABELS, IMAGES), DataError, "are images and labels swapped"),
    "one-hot": (
        call(IMAGES, np.eye(3)[LABELS]),
        DataError,
        r"whole numbers \[N\], as labels.argmax\(axis=1\)",
    ),
    "float": (call(IMAGES, LABELS * 1.0), DataError, r"whole numbers \[N\], as labels.astype\(int\)"),
    "ragged": (call([[1, 2], [3]], LABELS), DataError, "images: .*expected one array"),
    "objects": (call([object()], LABELS), DataError, "images: an array of object; expected numbers"),
    "range": (call(IMAGES - 0.5, LABELS), DataError, "images: float64 values, numbers from -0.5"),
    "nan": (call(IMAGES * np.nan, LABELS), DataError, "images: float64 values, numbers from nan"),
    "channels": (call(np.zeros((6, 28, 28, 4), np.uint8), LABELS), DataError, "4 channels; expected 1"),
    "nothing": (call(IMAGES[:0], LABELS[:0]), DataError, "images: an empty split"),
    "gap": (call(IMAGES, LABELS + 1000), DataError, "labels"),
    "test": (call(IMAGES, LABELS, test=IMAGES), DataError, r"test: got ndarray; expected \(images, labels\)"),
    "test size": (call(IMAGES, LABELS, test=(IMAGES[:, 1:], LABELS)), DataError, "expected"),
    "one of a class": (call(IMAGES[:3], LABELS[:3]), DataError, "images: 3 pictures in 3 classes"),
    "setting": (call("smoke", num_epoch=3), ConfigError, "num_epoch: .*did you mean 'num_epochs'"),
    "value": (call("smoke", batch_size=-1), ConfigError, "batch_size: expected"),
    "config": (call("somke"), ConfigError, "did you mean smoke"),
    "two": (call("smoke", LABELS), ConfigError, "expected images first"),
    "labels alone": (call(None, LABELS), ConfigError, "labels without images"),
    "optimizer": (call("smoke", optimizer=3), ConfigError, "optimizer: got 3; expected an optax.Gradient"),
    "model": (call("smoke", model=3), ConfigError, "model: got 3; expected a flax.linen module"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_clear_exception(case, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    function, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        function()
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_ctrl_c_leaves_what_was_learned_and_the_same_call_goes_on(arrays, tmp_path, monkeypatch):
    images, labels, test = arrays
    after_call = RunLog.after_call

    def interrupted(self, *args):
        after_call(self, *args)
        os.kill(os.getpid(), signal.SIGINT)

    train = functools.partial(
        mnist_jax.train, images, labels, test=test, model=Perceptron(num_classes=3), workdir=tmp_path, **TINY
    )
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(RunLog, "after_call", interrupted)
        run = train(steps_per_call=2)
    assert signal.getsignal(signal.SIGINT) is before
    assert not run.finished and run.summary == {}
    assert run.model.step == 2 and mnist_jax.predict(run, images).shape == (64, 3)
    assert "stopped" in repr(run) and "stopped" in run._repr_html_()
    assert run.report().is_file()
    run = train()
    assert run.finished and run.summary["final_step"] == 24
    again = train()
    assert again.summary == run.summary and again.model.step == 24
    with pytest.raises(DataError, match="arrays of another run; give another workdir"):
        mnist_jax.train(images[1:], labels[1:], test=test, model=Perceptron, workdir=tmp_path, **TINY)


@pytest.fixture
def pythons_own_handler():
    """Python's answer to Ctrl-C, whatever this process was started with: in the background it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("pythons_own_handler")
def test_ctrl_c_before_the_first_step_is_pythons_own(monkeypatch):
    def compiling(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("mnist_jax.run.loop.load_run_data", compiling)
    with pytest.raises(KeyboardInterrupt):
        mnist_jax.train("smoke", progress=False)


def test_a_study_is_a_function(monkeypatch):
    asked = {}

    def run_study(config, seeds, workdir, **options):
        asked.update(config=config, seeds=seeds, **options)
        return {"statistics": {}}

    monkeypatch.setattr("mnist_jax.api.studying.run_study", run_study)
    assert mnist_jax.study("smoke", range(2, 4), progress=False, num_epochs=2) == {"statistics": {}}
    assert (asked["seeds"], asked["split"], asked["config"].num_epochs) == ((2, 3), "validation", 2)
    mnist_jax.study(ConfigDict({"seed": 3}), "5,7", split="test", progress=False)
    assert (asked["seeds"], asked["split"]) == ((5, 7), "test")
    with pytest.raises(MnistJaxError, match="names no seed"):
        mnist_jax.study("smoke", "3:3", progress=False)
    with pytest.raises(ConfigError, match="seeds: got 'five'"):
        mnist_jax.study("smoke", "five", progress=False)


def test_a_study_measures_on_one_of_two_splits():
    with pytest.raises(ConfigError, match="split: got 'train'; expected 'validation' or 'test'"):
        mnist_jax.study("smoke", "0:2", split="train", progress=False)
