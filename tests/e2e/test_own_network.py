"""A network of a person's own in a configuration: every command finds it in the current folder."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mnist_jax import cli
from mnist_jax.__main__ import load_command
from mnist_jax.data import load_splits
from mnist_jax.demo.recognition import Recognizer
from mnist_jax.export.stablehlo import from_stablehlo
from mnist_jax.run.load import load
from tests.e2e.training_runs import ROOT
from tests.programs import QUICKLY_COMPILED

# Residual, with strides and padding, and no BatchNorm at all.
NET = """
import flax.linen as nn


class Block(nn.Module):
    features: int
    strides: int = 1

    @nn.compact
    def __call__(self, x):
        y = nn.relu(nn.Conv(self.features, (3, 3), self.strides, padding="SAME")(x))
        y = nn.Conv(self.features, (3, 3))(y)
        return nn.relu(y + nn.Conv(self.features, (1, 1), self.strides)(x))


class Net(nn.Module):
    num_classes: int
    widths: tuple[int, ...] = (2,)

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dropout(0.1, deterministic=not train)(images)
        for width in self.widths:
            x = Block(width, strides=2)(x)
        return nn.Dense(self.num_classes)(x.reshape(x.shape[0], -1))
"""
TRAIN = [
    "--config=smoke",
    "--config.model.name=my_net:Net",
    "--config.model.kwargs={'widths': (4,)}",
    "--config.data.train_examples=320",
    "--config.optim.ema_fraction=0.2",
]


def command(name, *words):
    return subprocess.run(
        [sys.executable, "-m", "mnist_jax", name, *words],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": QUICKLY_COMPILED},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the network's file and a finished run of it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_net.py").write_text(NET)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = command("train", *TRAIN, "--workdir=run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "my_net:Net" in done.stdout and "Block_0" in done.stdout
    return folder


@pytest.fixture
def inside(folder, monkeypatch):
    """The folder is the current one, as for a person's own commands."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "my_net", raising=False)
    return folder


def run(name, *words):
    main, taken = load_command(name)
    return cli.run_main(main, taken, words)


def test_the_run_knows_its_network(inside):
    config = json.loads((inside / "run" / "config.json").read_text())
    assert config["model"]["name"] == "my_net:Net" and config["model"]["kwargs"] == {"widths": [4]}
    model = load("run")
    assert type(model.module).__name__ == "Net" and model.module.widths == (4,)
    assert model.variables["batch_stats"] == {} and "Conv_2" in model.variables["params"]["Block_0"]


def test_evaluate_and_predict_answer_as_the_run(inside, capsys):
    summary = json.loads((inside / "run" / "summary.json").read_text())
    assert run("evaluate", "--workdir=run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["test_errors"] == summary["test_errors"]
    image = load_splits("mnist_5k").test.images[0]
    Image.fromarray(image[..., 0]).save("digit.png")
    assert run("predict", "--workdir=run", "digit.png", "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(answer["probabilities"], load("run").predict(image), atol=1e-5)


def test_exports_give_what_the_network_gives(inside, capsys):
    images = load_splits("mnist_5k").test.images[:5]
    assert run("export", "--workdir=run", "--out=net.bin") == 0
    predict = from_stablehlo((inside / "net.bin").read_bytes())[0]
    np.testing.assert_allclose(predict(images), load("run").predict(images), atol=1e-4)
    pytest.importorskip("onnxruntime")
    assert run("export", "--workdir=run", "--format=onnx", "--out=net.onnx") == 0, capsys.readouterr().err


def test_the_report_and_the_demo_show_its_layers(inside):
    assert run("report", "--workdir=run") == 0
    page = (inside / "run" / "report.html").read_text()
    assert "Block_0/Conv_1" in page and "my_net:Net" in page
    recognizer = Recognizer(load("run"))
    (answer,) = recognizer.recognize(list(load_splits("mnist_5k").test.images[:1]))
    assert answer.activations.shape == (14, 14, recognizer.num_maps) and recognizer.num_maps == 4


def test_without_its_file_each_command_says_so_in_a_line(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("evaluate", "--workdir", str(folder / "run"))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: model.name: my_net:Net: there is no module my_net, neither installed nor in {tmp_path}\n"
    )
