"""What every test shares: several CPU devices, annotations checked at every call, small networks."""

import atexit
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.programs import QUICKLY_COMPILED

# Before the first import of jax: JAX reads them once. The sharding tests need several devices.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {QUICKLY_COMPILED}".strip()
)
# What one test's command compiles another's finds, in every worker: they inherit the variable. One that is
# set outside keeps the programs for later sessions.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-for-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs that tests start write as Python does by itself: unbuffered, nothing is left to fail at their exit,
# which hides what a closed pipe or a full disk does.
os.environ.pop("PYTHONUNBUFFERED", None)
os.environ.pop("PYTHONIOENCODING", None)
os.environ.pop("PYTHONUTF8", None)

from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from jaxtyping import install_import_hook

# No timed asserts: the first example of a test may import SciPy on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def _modules_with_array_annotations() -> list[str]:
    package = Path(find_spec("mnist_jax").origin).parent
    return [
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in package.rglob("*.py")
        if "jaxtyping import" in path.read_text()
    ]


# Before the first import of the package: shapes and dtypes in annotations are checked. Modules without them
# are left alone, for tests hand stand-ins to those on purpose.
install_import_hook(_modules_with_array_annotations(), "beartype.beartype")

TINY_IMAGE_SHAPE = (10, 9, 1)
TINY_NUM_CLASSES = 3


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """A cache of the module's own for all but compiled programs, and no data but the embedded digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("MNIST_JAX_DATA_DIR", raising=False)
        yield


@pytest.fixture(scope="session")
def tiny_model():
    """The article's network in small: two convolutions, one pooling, a hidden layer, dropout."""
    from mnist_jax.models.cnn import CNN

    return CNN(num_classes=TINY_NUM_CLASSES, features=(3, 4), pool_after=(0,), dense_features=8, conv="gemm")


@pytest.fixture(scope="session")
def tiny_perceptron():
    """The least that has parameters, statistics and dropout; compiled in a third of the network's time."""
    import flax.linen as nn

    class Perceptron(nn.Module):
        dropout_rate: float = 0.2

        @nn.compact
        def __call__(self, images, train=False):
            x = nn.BatchNorm(use_running_average=not train)(images.reshape(images.shape[0], -1))
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
            return nn.Dense(TINY_NUM_CLASSES)(x)

    return Perceptron()


@pytest.fixture(scope="session")
def make_tiny_state(tiny_model) -> Callable:
    """Gives `make(seed=0, use_ema=False, model=tiny_model, **optimizer)`, to be donated."""
    import jax
    import jax.numpy as jnp

    from mnist_jax.training.optimizer import create_optimizer
    from tests.states import create_train_state

    @functools.cache
    def original(seed, use_ema, model, learning_rate, **optimizer):
        tx = create_optimizer(learning_rate, **optimizer)
        return create_train_state(jax.random.key(seed), model, TINY_IMAGE_SHAPE, tx, use_ema=use_ema)

    def make(seed: int = 0, *, use_ema: bool = False, model=tiny_model, learning_rate=1e-2, **optimizer):
        return jax.tree.map(jnp.copy, original(seed, use_ema, model, learning_rate, **optimizer))

    return make


@pytest.fixture(scope="session")
def tiny_data() -> tuple[np.ndarray, np.ndarray]:
    """83 noisy images, uint8 [83, 10, 9, 1], with a bright bar where the class says, and int32 labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, TINY_NUM_CLASSES, 83).astype(np.int32)
    images = rng.integers(0, 120, (83, *TINY_IMAGE_SHAPE))
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 2] += 120
    return images.astype(np.uint8), labels


class GoldenTraining(NamedTuple):
    """What golden/make_tiny_training_golden.py made, and the network and the settings it was made for."""

    model: Any
    optimizer: dict[str, float]
    step: dict[str, float]
    arrays: dict[str, np.ndarray]

    def variables(self, prefix: str) -> dict[str, dict]:
        """The variables saved under `start`, `end` or `ema`, as linen nests them."""
        import jax.numpy as jnp

        from tests.trees import nest_as_blocks

        return nest_as_blocks(
            {
                path.removeprefix(f"{prefix}/"): jnp.asarray(array, jnp.float32)
                for path, array in self.arrays.items()
                if path.startswith(f"{prefix}/") and path.count("/") == 2
            }
        )


@pytest.fixture(scope="session")
def golden_training() -> Callable[[str], GoldenTraining]:
    """Gives `golden(conv)`: a tiny training run in NumPy's float64, and our network to repeat it."""
    from mnist_jax.models.cnn import CNN

    with np.load(Path(__file__).parent / "golden" / "tiny_training.npz") as file:
        arrays = dict(file)

    def golden(conv: str) -> GoldenTraining:
        model = CNN(
            num_classes=3,
            features=(2, 3),
            pool_after=(0,),
            dense_features=4,
            dropout_rate=0.0,
            batch_norm_momentum=0.9,
            conv=conv,
        )
        optimizer = {"learning_rate_fn": 1e-2, "epsilon": 1e-3, "weight_decay": 0.1}
        return GoldenTraining(model, optimizer, {"label_smoothing": 0.1, "ema_decay": 0.15}, arrays)

    return golden


@pytest.fixture(scope="session")
def small_run_overrides() -> list[str]:
    """What `small_run` was trained with, beside configs/smoke.py."""
    return [
        "--config.num_epochs=2",
        "--config.data.train_examples=1600",
        "--config.augment.enabled=False",
        "--config.optim.learning_rate=5e-3",
        "--config.model.batch_norm_momentum=0.9",
    ]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], Any]], Path]:
    """Gives `made(name, make)`: a copy of the folder that the first of xdist's workers to ask has made."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made(name: str, make: Callable[[Path], Any]) -> Path:
        folder = shared / "made_once" / name
        folder.parent.mkdir(exist_ok=True)
        with open(folder.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                make(folder.with_suffix(".unfinished"))
                folder.with_suffix(".unfinished").rename(folder)
        return shutil.copytree(folder, tmp_path_factory.mktemp(name) / name)

    return made


@pytest.fixture(scope="session")
def small_run(made_once, small_run_overrides) -> Path:
    """The folder of a finished run: a small network that knows most of the embedded digits."""
    root = Path(__file__).parents[1]
    words = ["--config", str(root / "configs" / "smoke.py"), *small_run_overrides]
    # On one device: eight on two cores get in each other's way.
    environment = {**os.environ, "XLA_FLAGS": QUICKLY_COMPILED}

    def train(workdir: Path) -> None:
        command = [sys.executable, "-m", "mnist_jax.train", "--workdir", str(workdir), *words]
        subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=300)

    return made_once("small_run", train)


@pytest.fixture(scope="session")
def small_model(small_run):
    """What `mnist_jax.load` gives for that run."""
    from mnist_jax import load

    return load(small_run, "latest")
