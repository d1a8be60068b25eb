"""The command: two files and a suggestion, the same for a seed, from the steps of a run itself."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from mnist_jax import cli
from mnist_jax.find_rate.__main__ import COMMAND, main
from mnist_jax.find_rate.sweep import exponential_rates
from mnist_jax.runtime.devices import Layout, make_layout
from mnist_jax.storage.metrics_log import read_metrics
from mnist_jax.train import COMMAND as TRAIN
from mnist_jax.train import main as train

TINY = [
    "--config=smoke",
    "--config.batch_size=16",
    "--config.data.train_examples=800",
    "--config.model.features=(2,)",
    "--config.model.pool_after=(0,)",
    "--config.model.dense_features=16",
    "--config.eval_batch_size=250",
]


def find(folder, *words):
    """Runs the command in this process: its exit code, and what it wrote."""
    code = cli.run_main(main, COMMAND, [*TINY, f"--workdir={folder}", *words])
    file = folder / "find_rate.json"
    return code, json.loads(file.read_bytes()) if file.exists() else {}


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Eight devices on two cores get in each other's way."""
    layout = make_layout()
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    one = Layout(replicated, None, layout.platform, 1)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("mnist_jax.find_rate.sweep", "mnist_jax.run.loop"):
            patch.setattr(f"{module}.make_layout", lambda: one)
        yield


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("found")
    code, record = find(folder)
    assert code == 0
    return folder, record


def test_the_rates_rise_by_one_factor_and_the_suggestion_is_among_them(found):
    folder, record = found
    assert len(record["rates"]) == len(record["losses"]) == record["num_updates"] <= 50
    expected = 1e-6 * (10 / 1e-6) ** (np.arange(record["num_updates"]) / 49)
    np.testing.assert_allclose(record["rates"], expected, rtol=1e-4)
    np.testing.assert_allclose(exponential_rates(1e-6, 10.0, 50)(49), 10, rtol=1e-4)
    lowest = record["smoothed"].index(record["lowest_loss"])
    assert record["lowest_loss"] == min(record["smoothed"][2:]) and lowest > 2
    assert record["lowest_loss_at"] == record["rates"][lowest]
    halfway = record["rates"].index(record["learning_rate"])
    half = (max(record["smoothed"][2:lowest]) + record["lowest_loss"]) / 2
    assert record["smoothed"][halfway] <= half < record["smoothed"][halfway - 1] and halfway <= lowest
    with Image.open(folder / "find_rate.png") as picture:
        assert picture.width > 400 and len(picture.convert("L").getcolors(256)) > 20


def test_a_seed_finds_the_same_however_the_epoch_is_cut(found, tmp_path, capsys):
    code, again = find(tmp_path, "--config.steps_per_call=7")
    assert code == 0
    assert again["losses"] == found[1]["losses"]
    said = capsys.readouterr().out
    assert f"learning rate {again['learning_rate']:.2g}: the rate at which" in said
    assert f"--config.optim.learning_rate={again['learning_rate']:.2g}" in said


def test_the_steps_are_those_of_a_run(found, tmp_path):
    words = [
        *TINY,
        f"--workdir={tmp_path}",
        "--config.log_every_steps=1",
        "--config.checkpoint.enabled=False",
    ]
    # So low a rate moves nothing that counts, as in the first steps of the sweep.
    assert cli.run_main(train, TRAIN, [*words, "--config.optim.learning_rate=1e-6"]) == 0
    losses = [line["loss"] for line in read_metrics(tmp_path) if line["split"] == "train"]
    np.testing.assert_allclose(found[1]["losses"][:5], losses[:5], rtol=1e-3)
    assert found[1]["losses"][0] == pytest.approx(losses[0], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lowest=1", "--highest=0.1"], "--lowest: expected less than --highest = 0.1, got 1"),
        (["--config.batch_size=200"], "batch_size: an epoch has 4 updates; expected at least 20"),
        (["--config.optim.accumulation_steps=4"], "batch_size: an epoch has 12 updates"),
        (["--lowest=0"], "--lowest: expected a finite number above 0, got 0"),
    ],
)
def test_what_cannot_be_done_is_one_line(words, message, tmp_path, capsys):
    code, record = find(tmp_path, *words)
    (line,) = capsys.readouterr().err.splitlines()
    assert (code, record) == (2, {}) and line.startswith(f"error: {message}")
