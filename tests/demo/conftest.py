"""A network that knows its digits a little, one that knows nothing, and the demo as a process."""

import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs import QUICKLY_COMPILED

ROOT = Path(__file__).parents[2]
QUICK = (
    "--config.data.name=mnist_5k",
    "--config.report=False",
    "--config.augment.enabled=False",
    "--config.model.features=(8,8,16,16)",
    "--config.model.dense_features=64",
    "--config.num_epochs=6",
    "--config.optim.schedule=one_cycle",
    "--config.optim.learning_rate=4e-3",
    "--config.checkpoint.every_epochs=6",
)


@dataclass
class Demo:
    """A running demo."""

    url: str
    process: subprocess.Popen

    @property
    def port(self):
        return int(self.url.rstrip("/").rpartition(":")[2])


def plain_environment():
    # One device: the eight of the other tests would share the two cores.
    return {**os.environ, "XLA_FLAGS": QUICKLY_COMPILED, "PYTHONPATH": str(ROOT)}


def start_demo(*arguments, cwd=ROOT):
    """Starts the demo on a free port; see `wait_for_demo`."""
    return subprocess.Popen(
        [sys.executable, "-m", "mnist_jax.demo", "--port=0", *map(str, arguments)],
        cwd=cwd,
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_demo(process):
    """Waits until the demo says where it is."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("draw at "):
            return Demo(line.split()[2], process)
    raise AssertionError(f"the demo ended with {process.wait()}: {''.join(lines)}")


@pytest.fixture(scope="session")
def run(made_once):
    """A run that knows the embedded digits a little; MNIST_JAX_DEMO_RUN names a better one."""
    if "MNIST_JAX_DEMO_RUN" in os.environ:
        return Path(os.environ["MNIST_JAX_DEMO_RUN"]).resolve()
    return made_once("demo_run", lambda workdir: train(workdir, *QUICK))


def train(workdir, *overrides):
    """Trains in a process of its own."""
    config = str(ROOT / "configs" / "default.py")
    command = [sys.executable, "-m", "mnist_jax.train", "--config", config, "--workdir", str(workdir)]
    done = subprocess.run(
        [*command, *overrides], env=plain_environment(), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def demo(run):
    """The demo of that run, for all tests."""
    with start_demo("--workdir", run) as process:
        try:
            yield wait_for_demo(process)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def untrained():
    """A recognizer that guesses: two convolutions, ten classes, warmed up."""
    import jax
    import jax.numpy as jnp
    from ml_collections import ConfigDict

    from mnist_jax.demo.recognition import Recognizer
    from mnist_jax.models.cnn import CNN
    from mnist_jax.run.load import LoadedModel
    from mnist_jax.runtime.devices import make_layout

    module = CNN(features=(3, 4), pool_after=(1,), dense_features=8)
    shape = (28, 28, 1)
    model = LoadedModel(
        module=module,
        variables=module.init(jax.random.key(0), jnp.zeros((1, *shape))),
        config=ConfigDict(),
        step=7,
        image_shape=shape,
        class_names=tuple("0123456789"),
        run={"dataset": {"name": "mnist", "num_test": 10_000, "notice": ""}},
        layout=make_layout(),
    )
    recognizer = Recognizer(model)
    recognizer.warm_up()
    return recognizer


def ask(url, path="api/recognise", **options):
    """Sends one request and gives status and body."""
    request = urllib.request.Request(url + path, **options)
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.status, response.read()
