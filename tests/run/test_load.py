"""A run's checkpoint as an object: the right step, the right variables, and pictures in any accepted form."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mnist_jax
from mnist_jax.checkpoints.manager import Checkpoints
from mnist_jax.checkpoints.manifest import read_manifest, write_manifest
from mnist_jax.config.check import as_dict, check, default_config
from mnist_jax.errors import CheckpointError, MnistJaxError, RunError
from mnist_jax.run import load as load_module
from mnist_jax.run.experiment import build_experiment
from mnist_jax.run.load import checkpoint_name
from mnist_jax.runtime.devices import make_layout
from mnist_jax.storage.json_files import write_config
from tests.trees import assert_same_bits

FACTS = {"image_shape": [10, 9, 1], "class_names": ["bar", "dot", "ring"]}
RUN = {**FACTS, "dataset": {"num_train": 83, "name": "bars"}}
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 10, 9, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def states():
    """Three states of one experiment by step, every number other in each, and in its average."""
    config = default_config()
    config.num_epochs, config.batch_size, config.optim.ema_fraction = 3, 8, 0.2
    config.model.features, config.model.pool_after, config.model.dense_features = (3, 4), (0,), 8
    config = check(config)
    experiment = build_experiment(config, make_layout(), num_train=83, **FACTS)
    first, log = experiment.create_state(), experiment.create_log()

    def at(step):
        def moved(tree, amount):
            return jax.tree.map(lambda leaf: leaf + amount, tree)

        return first.replace(
            step=first.step + step,
            params=moved(first.params, step / 100),
            batch_stats=moved(first.batch_stats, step / 10),
            ema=moved(first.ema, step / 50),
        )

    return config, log, {step: at(step) for step in (1, 2, 3)}


@pytest.fixture(scope="module")
def workdir(states, tmp_path_factory):
    """The folder of a run whose second checkpoint was the best."""
    config, log, by_step = states
    folder = tmp_path_factory.mktemp("run")
    write_config(folder, as_dict(config), RUN)
    with Checkpoints(folder / "checkpoints", keep_latest=3) as checkpoints:
        for step, accuracy in ((1, 0.5), (2, 0.9), (3, 0.7)):
            tree = {"state": by_step[step], "log": log}
            checkpoints.save(step, tree, {"epoch": step}, {"accuracy": accuracy})
    return folder


@pytest.fixture(scope="module")
def model(workdir):
    return mnist_jax.load(workdir)


@pytest.mark.parametrize(
    ("checkpoint", "step"), [("best", 2), ("latest", 3), (1, 1), ("1", 1)], ids=["best", "latest", "1", "'1'"]
)
def test_the_checkpoint_asked_for_is_loaded_with_its_average(states, workdir, checkpoint, step):
    model = mnist_jax.load(str(workdir), checkpoint)
    assert model.step == step
    assert_same_bits(model.variables, states[2][step].ema)


def test_the_best_is_the_default(model):
    assert model.step == 2


def test_it_tells_of_its_run(states, model):
    assert as_dict(model.config) == as_dict(states[0])
    assert (model.image_shape, model.class_names) == ((10, 9, 1), ("bar", "dot", "ring"))
    assert model.run == RUN


def test_module_and_variables_give_the_logits_of_predict(model):
    logits = model.module.apply(model.variables, jnp.asarray(IMAGES, jnp.float32) / 255)
    probabilities = model.predict(IMAGES)
    assert probabilities.shape == (6, 3) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, jax.nn.softmax(logits), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_bytes_and_fractions_are_the_same_picture(model):
    expected = model.predict(IMAGES)
    np.testing.assert_allclose(model.predict(IMAGES / 255), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict((IMAGES / 255).astype(np.float32)), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(jnp.asarray(IMAGES)), expected, atol=1e-6)


def test_missing_axes_are_added(model):
    expected = model.predict(IMAGES)
    np.testing.assert_allclose(model.predict(IMAGES[..., 0]), expected, atol=1e-6)
    for single in (IMAGES[0], IMAGES[0, ..., 0]):
        probabilities = model.predict(single)
        assert probabilities.shape == (3,)
        np.testing.assert_allclose(probabilities, expected[0], atol=1e-5)


def test_any_number_of_images_goes_through_few_programs(model, monkeypatch):
    monkeypatch.setattr("mnist_jax.run.load._PREDICT_BATCH", 4)
    monkeypatch.setattr("mnist_jax.run.load._FEW_IMAGES", 3)
    shapes = []
    compute = load_module._probabilities

    def watched(module, variables, images):
        shapes.append((module.conv, len(images)))
        return compute(module, variables, images)

    monkeypatch.setattr("mnist_jax.run.load._probabilities", watched)
    expected = model.predict(IMAGES[:4])
    for count in (0, 1, 3, 6):
        probabilities = model.predict(IMAGES[:count])
        assert probabilities.shape == (count, 3)
        np.testing.assert_allclose(probabilities[:4], expected[:count], atol=1e-5)
    # XLA's own convolutions for a few; a last batch is filled up.
    assert shapes == [("native", 4), ("lax", 1), ("lax", 4), ("native", 4), ("native", 4)]


@pytest.mark.parametrize("most_under_way", [1, 2, 4, 100])
def test_batches_given_ahead_come_back_in_their_places(model, monkeypatch, most_under_way):
    monkeypatch.setattr("mnist_jax.run.load._PREDICT_BATCH", 2)
    monkeypatch.setattr("mnist_jax.run.load._MOST_UNDER_WAY", most_under_way)
    images = np.concatenate([IMAGES, IMAGES[::-1], IMAGES[:1]])
    one_by_one = [model.predict(image) for image in images]
    np.testing.assert_allclose(model.predict(images), one_by_one, atol=1e-5)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 9, 10, 1)),
        np.zeros((2, 10, 9, 3)),
        np.zeros((2, 10, 9, 1), np.int64),
        np.zeros((10, 9), bool),
    ],
    ids=["turned", "in color", "integers", "booleans"],
)
def test_other_images_are_refused(model, images):
    with pytest.raises(ValueError, match=r"expected uint8 in 0 to 255 or floating point.*\[N, 10, 9, 1\]"):
        model.predict(images)


@pytest.mark.parametrize("name", ["newest", "-1", "1.5", ""])
def test_another_name_of_a_checkpoint_is_refused(workdir, name):
    with pytest.raises(CheckpointError, match="expected a step, 'latest' or 'best'"):
        mnist_jax.load(workdir, name)


def test_names_of_checkpoints():
    assert [checkpoint_name(name) for name in ("best", "latest", "12", 12)] == ["best", "latest", 12, 12]


def test_a_step_that_is_not_there_is_refused(workdir):
    with pytest.raises(CheckpointError, match="9"):
        mnist_jax.load(workdir, 9)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises((RunError, CheckpointError), match=str(tmp_path)):
        mnist_jax.load(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_does_not_tell_of_its_data_is_refused(states, workdir, tmp_path):
    (tmp_path / "checkpoints").symlink_to(workdir / "checkpoints")
    write_config(tmp_path, as_dict(states[0]), {"dataset": RUN["dataset"]})
    with pytest.raises(RunError, match="does not tell run.image_shape"):
        mnist_jax.load(tmp_path)


@pytest.mark.parametrize("wrong", [255.0, -0.1, np.nan, np.inf])
def test_numbers_that_are_no_tones_are_refused(small_model, wrong):
    images = np.zeros((2, 28, 28), np.float32)
    images[1, 3, 4] = wrong
    with pytest.raises(ValueError, match=r"expected floating point in \[0, 1\]"):
        small_model.predict(images)


# --- Folders from somebody else ---


def put(folder, path, value):
    """Changes one place of ``config.json``."""
    content = json.loads((folder / "config.json").read_text())
    *groups, last = path.split(".")
    inner = content
    for name in groups:
        inner = inner[name]
    inner[last] = value
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("run", []),
        ("run.dataset", "mnist"),
        ("run.dataset.num_train", 0),
        ("run.dataset.num_train", 10**400),
        ("run.dataset.name", None),
        ("run.dataset.preparation", {"form": "mnist"}),
        ("run.dataset.preparation", {"form": "mnist", "image_shape": [9000, 9000, 1]}),
        ("run.image_shape", [10, 9]),
        ("run.image_shape", [10, 9, -1]),
        ("run.image_shape", [2**40, 2**40, 1]),
        ("run.class_names", []),
        ("run.class_names", "abc"),
        ("model.features", {"a": 1}),
        ("model", 3),
        ("optim.learning_rate", "fast"),
    ],
)
def test_a_configuration_of_other_types_is_one_of_our_lines(workdir, tmp_path, path, value):
    shutil.copytree(workdir, tmp_path / "run")
    put(tmp_path / "run", path, value)
    with pytest.raises(MnistJaxError, match=path.split(".")[-1]):
        mnist_jax.load(tmp_path / "run")


@pytest.mark.parametrize("name", ["..", "../..", "/", "", ".", 3])
def test_the_members_of_an_ensemble_lie_in_its_folder(tmp_path, name):
    (tmp_path / "ensemble.json").write_text(json.dumps({"members": [{"folder": name}]}))
    with pytest.raises(RunError, match=r"ensemble\.json"):
        mnist_jax.load(tmp_path)


def test_an_ensemble_that_is_its_own_member_ends(tmp_path):
    (tmp_path / "ensemble.json").write_text(json.dumps({"members": [{"folder": "0"}]}))
    (tmp_path / "members").mkdir()
    (tmp_path / "members" / "0").symlink_to(tmp_path)
    with pytest.raises(CheckpointError, match="has no folder 'checkpoints'"):
        mnist_jax.load(tmp_path)


def damage_arrays(step):
    for path in (step / "state").rglob("d/*"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        path.write_bytes(content)


def damage_description(step):
    (step / "state" / "_METADATA").write_text("[" * 10_000)


def nest_meta(step):
    (step / "meta" / "metadata").write_text("[" * 100_000)


def other_meta(step):
    (step / "meta" / "metadata").write_text("[1]")


@pytest.mark.parametrize("damage", [damage_arrays, damage_description, nest_meta, other_meta])
def test_damage_with_right_sums_is_one_line(workdir, tmp_path, capfd, damage):
    shutil.copytree(workdir, tmp_path / "run")
    step = tmp_path / "run" / "checkpoints" / "3"
    metrics, leaves = (getattr(read_manifest(step), name) for name in ("metrics", "leaves"))
    damage(step)
    write_manifest(step, 3, metrics, leaves)
    with pytest.raises(CheckpointError, match=r"^checkpoint 3 in [^\n]*$"):
        mnist_jax.load(tmp_path / "run", 3)
    assert capfd.readouterr() == ("", "")
