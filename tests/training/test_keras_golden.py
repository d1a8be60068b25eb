"""Five steps of ours equal five of Keras 3.15's, from the same weights, whatever the lowering.

The fixture is not part of the repository: its folder is given by MNIST_JAX_FIXTURES_DIR, or lies beside the
checkout as shared/fixtures. A golden run that is always at hand is in test_step.py.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.models.cnn import CNN
from mnist_jax.training.optimizer import create_optimizer
from mnist_jax.training.state import TrainState
from mnist_jax.training.step import preprocess, train_step
from tests.trees import assert_close, nest_as_blocks

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "fixtures"
FIXTURE = Path(os.environ.get("MNIST_JAX_FIXTURES_DIR") or BESIDE) / "keras_training.npz"
BATCH_SIZE, NUM_STEPS = 64, 5
FLAX_NAMES = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}

pytestmark = pytest.mark.skipif(
    not FIXTURE.is_file(), reason=f"no {FIXTURE.name}: set MNIST_JAX_FIXTURES_DIR to its folder"
)


@pytest.fixture(scope="module")
def keras() -> dict[str, np.ndarray]:
    with np.load(FIXTURE) as file:
        return dict(file)


def variables_named(keras, prefix):
    """Keras' variables below a prefix, under our names."""
    flat = {}
    for path, array in keras.items():
        if path.startswith(prefix):
            layer, name = path.removeprefix(prefix).split("/")
            flat[f"{layer}/{FLAX_NAMES.get(name, name)}"] = jnp.asarray(array)
    return nest_as_blocks(flat)


def start_state(keras, conv):
    """The state that Keras started from, its variables under our names."""
    variables = variables_named(keras, "start/")
    model, tx = CNN(dropout_rate=0.0, conv=conv), create_optimizer(1e-3)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        opt_state=tx.init(variables["params"]),
        ema=None,
        apply_fn=model.apply,
        tx=tx,
        **variables,
    )


@pytest.mark.parametrize("conv", ["native", "gemm", "fused", "lax"])
def test_five_steps_equal_keras(keras, conv):
    state = start_state(keras, conv)
    images = jnp.asarray(keras["images"]).reshape(NUM_STEPS, BATCH_SIZE, 28, 28, 1)
    labels = jnp.asarray(keras["labels"], jnp.int32).reshape(NUM_STEPS, BATCH_SIZE)

    @jax.jit
    def probabilities(variables):
        return jax.nn.softmax(state.apply_fn(variables, preprocess(images[0])))

    at_start = probabilities(state.variables())
    np.testing.assert_allclose(at_start, keras["probabilities_at_start"], rtol=0, atol=1e-5)

    run = jax.jit(train_step)
    losses = []
    for batch_images, batch_labels in zip(images, labels, strict=True):
        state, metrics = run(state, {"image": batch_images, "label": batch_labels}, jax.random.key(0))
        losses.append(float(metrics.loss_sum) / BATCH_SIZE)
    assert losses[0] == pytest.approx(keras["losses"][0], abs=1e-5)
    np.testing.assert_allclose(losses, keras["losses"], rtol=0, atol=2e-3)

    end = variables_named(keras, "end/sequential/")["batch_stats"]
    assert len(jax.tree.leaves(end)) == 10
    assert_close(state.batch_stats, end, rtol=0, atol=2e-3)
    at_end = probabilities(state.variables())
    np.testing.assert_allclose(at_end, keras["probabilities_at_end"], rtol=0, atol=2e-3)
