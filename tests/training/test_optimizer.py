"""Each optimizer equals what it is named after, and decay touches kernels alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mnist_jax.training.optimizer import create_optimizer, scale_by_adam


def keras_adam(gradients, rate=1.0, b1=0.9, b2=0.999, epsilon=1e-7):
    """The steps of keras.optimizers.Adam.update_step in float64, added up."""
    m = v = moved = 0.0
    for t, g in enumerate(np.asarray(gradients, np.float64), start=1):
        alpha = rate * np.sqrt(1 - b2**t) / (1 - b1**t)
        m = m + (g - m) * (1 - b1)
        v = v + (g**2 - v) * (1 - b2)
        moved = moved - alpha * m / (np.sqrt(v) + epsilon)
        yield moved


# The last ones are of epsilon's size, where the place of epsilon decides.
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-7, 1e-9])
def test_adam_equals_keras(scale):
    gradients = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32) * np.float32(scale)
    tx = optax.chain(scale_by_adam(), optax.scale(-1.0))
    params = jnp.zeros(5)
    state = tx.init(params)
    update = jax.jit(tx.update)
    for gradient, expected in zip(gradients, keras_adam(gradients), strict=True):
        updates, state = update(jnp.asarray(gradient), state)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, expected, rtol=1e-4, atol=2e-5)


def test_adam_takes_its_own_decays_and_epsilon():
    settings = {"b1": 0.5, "b2": 0.9, "epsilon": 0.1}
    gradients = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    tx = create_optimizer(0.3, **settings)
    params = jnp.zeros(3)
    state = tx.init(params)
    for gradient, expected in zip(gradients, keras_adam(gradients, rate=0.3, **settings), strict=True):
        updates, state = tx.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, expected, rtol=1e-5, atol=1e-6)


def test_the_optimizer_follows_the_learning_rate_of_the_step():
    tx = create_optimizer(lambda step: jnp.where(step < 1, 1.0, 0.25))
    state = tx.init(jnp.zeros(1))
    sizes = []
    for _ in range(2):
        updates, state = tx.update(jnp.ones(1), state, jnp.zeros(1))
        sizes.append(float(-updates[0]))
    # A gradient that never changes gives steps of the learning rate itself.
    assert sizes == pytest.approx([1.0, 0.25], rel=1e-4)


def test_weight_decay_spares_biases_and_batch_norm():
    params = {
        "conv0": {"kernel": jnp.full((3, 3, 1, 2), 2.0), "bias": jnp.ones(2)},
        "bn0": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
        "head": {"kernel": jnp.full((2, 2), -2.0), "bias": jnp.ones(2)},
    }
    tx = create_optimizer(0.1, weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    moved = optax.apply_updates(params, updates)
    for path, leaf in jax.tree_util.tree_leaves_with_path(moved):
        before = params[path[0].key][path[1].key]
        shrunk = 0.95 if path[-1].key == "kernel" else 1.0
        np.testing.assert_allclose(leaf, before * shrunk, rtol=1e-6)
