"""Each optimizer equals what it is named after, and decay touches kernels alone."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from mnist_jax.config.optimizers import OPTIMIZERS as FIELDS_OF
from mnist_jax.config.schema import FIELDS_BY_NAME
from mnist_jax.training.optimizer import (
    DEFAULTS,
    OPTIMIZERS,
    create_optimizer,
    evaluation_params,
    scale_by_adam,
)


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


GRADIENTS = np.random.default_rng(1).normal(size=(6, 3, 2)).astype(np.float32)


def moved_by(tx, gradients=GRADIENTS, start=1.0):
    """A kernel of ones after the gradients one by one, and the optimizer's state."""
    params = {"kernel": jnp.full(gradients.shape[1:], start)}
    state = tx.init(params)
    update = jax.jit(tx.update)
    for gradient in gradients:
        updates, state = update({"kernel": jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def test_the_table_of_the_configuration_is_that_of_the_functions():
    assert set(OPTIMIZERS) == set(FIELDS_OF)
    for name, function in OPTIMIZERS.items():
        _, *parameters = inspect.signature(function).parameters.values()
        assert {parameter.name for parameter in parameters} == set(FIELDS_OF[name].fields), name
        for parameter in parameters:
            assert DEFAULTS[parameter.name] == FIELDS_BY_NAME[f"optim.{parameter.name}"].default


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("adamw", optax.adamw(0.1, eps=1e-7, weight_decay=0.2)),
        ("lamb", optax.lamb(0.1, eps=1e-7, weight_decay=0.2)),
        ("lion", optax.lion(0.1, weight_decay=0.2)),
        ("schedule_free_adamw", optax.contrib.schedule_free_adamw(0.1, eps=1e-7, weight_decay=0.2)),
        ("prodigy", optax.contrib.prodigy(0.1, eps=1e-7, weight_decay=0.2, safeguard_warmup=True)),
        ("muon", optax.contrib.muon(0.1, eps=1e-7, weight_decay=0.2, consistent_rms=0.2)),
        ("sgd", optax.chain(optax.add_decayed_weights(0.2), optax.sgd(0.1, 0.9, nesterov=True))),
    ],
)
def test_a_name_is_optax_own_optimizer_with_its_own_momentum(name, theirs):
    ours = create_optimizer(0.1, name=name, weight_decay=0.2)
    moved, expected = moved_by(ours)[0]["kernel"], moved_by(theirs)[0]["kernel"]
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(moved - 1).max() > 1e-8


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_the_formula(nesterov):
    moved, _ = moved_by(create_optimizer(0.1, name="sgd", momentum=0.5, nesterov=nesterov))
    velocity, expected = 0.0, 1.0
    for gradient in GRADIENTS.astype(np.float64):
        velocity = 0.5 * velocity + gradient
        expected = expected - 0.1 * (gradient + 0.5 * velocity if nesterov else velocity)
    np.testing.assert_allclose(moved["kernel"], expected, rtol=1e-5)


def test_muon_moves_a_convolution_along_an_orthogonal_matrix():
    gradient = np.random.default_rng(2).normal(size=(1, 3, 3, 2, 4)).astype(np.float32)
    moved, _ = moved_by(create_optimizer(1.0, name="muon"), gradient)
    update = np.reshape(moved["kernel"] - 1, (18, 4)) / (0.2 * np.sqrt(18))
    # Five iterations bring the singular values near 1, not to it.
    sizes = np.linalg.svd(update, compute_uv=False)
    assert ((sizes > 0.6) & (sizes < 1.3)).all()


@pytest.mark.parametrize(
    ("shape", "dense", "expected"),
    [
        ((1, 6, 4), True, optax.contrib.muon(0.1, eps=1e-7, consistent_rms=0.2)),
        ((1, 6, 4), False, optax.nadamw(0.1, eps=1e-7, weight_decay=0)),
        ((1, 3, 3, 2, 4), False, create_optimizer(0.1, name="muon")),
    ],
)
def test_muon_of_convolutions_alone_leaves_dense_kernels_to_adam(shape, dense, expected):
    gradient = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    moved, _ = moved_by(create_optimizer(0.1, name="muon", muon_dense=dense), gradient)
    np.testing.assert_allclose(moved["kernel"], moved_by(expected, gradient)[0]["kernel"], rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ("adam", "prodigy")])
def test_decay_spares_biases(name):
    params = {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.ones(2)}
    tx = create_optimizer(0.1, name=name, weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert (updates["bias"] == 0).all() and (updates["kernel"] < 0).all()


def test_prodigy_bears_a_rate_of_zero():
    tx = create_optimizer(optax.linear_schedule(0.0, 1.0, 5), name="prodigy")
    moved, _ = moved_by(tx, np.repeat(GRADIENTS, 20, axis=0))
    assert np.isfinite(moved["kernel"]).all() and (moved["kernel"] != 1).all()


@pytest.mark.parametrize("size", [0.1, 10.0])
def test_clipping_limits_the_norm_over_all_parameters(size):
    tx = create_optimizer(1.0, name="sgd", momentum=0.0, clip_norm=2.0)
    gradients = {"kernel": jnp.full((3, 2), size), "bias": jnp.full(3, size)}
    updates, _ = tx.update(gradients, tx.init(gradients), gradients)
    norm = size * 3  # nine numbers
    expected = jax.tree.map(lambda gradient: -gradient * min(1, 2 / norm), gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), updates, expected)


def test_off_clipping_and_accumulation_leave_the_optimizer_as_it_is():
    params = {"kernel": jnp.ones((3, 2))}
    plain, off = create_optimizer(0.1), create_optimizer(0.1, clip_norm=0.0, accumulation_steps=1)
    assert jax.tree.structure(plain.init(params)) == jax.tree.structure(off.init(params))


def test_accumulation_moves_once_by_the_mean_of_the_gradients():
    pairs = GRADIENTS.reshape(3, 2, 3, 2)
    once = create_optimizer(0.1, name="sgd")
    accumulated = create_optimizer(0.1, name="sgd", accumulation_steps=2)
    expected, _ = moved_by(once, pairs.mean(axis=1))
    np.testing.assert_allclose(moved_by(accumulated)[0]["kernel"], expected["kernel"], rtol=1e-5)
    # The last, alone, moves nothing yet.
    before, after = (moved_by(accumulated, GRADIENTS[:count])[0]["kernel"] for count in (4, 5))
    np.testing.assert_array_equal(before, after)


def test_clipping_is_of_the_accumulated_gradient():
    tx = create_optimizer(1.0, name="sgd", momentum=0.0, clip_norm=1.0, accumulation_steps=2)
    gradients = np.stack([np.full((1, 1), 9.0), np.full((1, 1), -8.0)]).astype(np.float32)
    np.testing.assert_allclose(moved_by(tx, gradients)[0]["kernel"], 0.5, rtol=1e-5)


def test_a_given_transformation_is_taken_as_it_is():
    given = optax.sgd(0.25)
    assert create_optimizer(0.1, given=given) is given
    with pytest.raises(ValueError, match="'nadam' is not known; expected one of adam, adamw, sgd"):
        create_optimizer(0.1, name="nadam")


def test_schedule_free_is_evaluated_with_its_average():
    tx = create_optimizer(0.1, name="schedule_free_adamw")
    params, state = moved_by(tx)
    expected = optax.contrib.schedule_free_eval_params(state, params)
    np.testing.assert_allclose(evaluation_params(state, params)["kernel"], expected["kernel"], rtol=1e-6)
    assert (expected["kernel"] != params["kernel"]).all()
    wrapped = create_optimizer(0.1, name="schedule_free_adamw", clip_norm=1e9, accumulation_steps=2)
    params, state = moved_by(wrapped, np.repeat(GRADIENTS, 2, axis=0))
    np.testing.assert_allclose(evaluation_params(state, params)["kernel"], expected["kernel"], rtol=1e-4)


def test_of_a_partition_only_its_schedule_free_part_is_averaged():
    free = create_optimizer(0.1, name="schedule_free_adamw")
    tx = optax.partition({"a": free, "b": optax.sgd(0.1)}, {"a": "a", "b": "b"})
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    state = tx.init(params)
    for scale in (1.0, -0.5, 2.0):
        gradients = jax.tree.map(lambda leaf, scale=scale: scale * leaf, params)
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    evaluated = evaluation_params(state, params)
    np.testing.assert_array_equal(evaluated["b"], params["b"])
    assert (evaluated["a"] != params["a"]).all()


def test_any_other_is_evaluated_as_trained():
    params, state = moved_by(create_optimizer(0.1, name="lion"))
    assert evaluation_params(state, params) is params
