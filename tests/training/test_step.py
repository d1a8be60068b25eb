"""A step is pure, draws by the step's number alone, is traced once, and equals NumPy's."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.training.augment.affine import RandomAffine
from mnist_jax.training.augment.augmentation import Augmentation
from mnist_jax.training.epoch import RunKeys, jit_train_steps
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.optimizer import create_optimizer
from mnist_jax.training.state import TrainState
from mnist_jax.training.step import eval_step, preprocess, train_step
from tests.states import create_train_state
from tests.trees import assert_close, assert_same_bits, same_bits

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def batch(tiny_data):
    images, labels = tiny_data
    return {"image": jnp.asarray(images[:8]), "label": jnp.asarray(labels[:8])}


@pytest.fixture(scope="module")
def step():
    """The jitted step with dropout and an augmentation that shows its key: noise added to the images."""

    def add_noise(key, images):
        return images + jax.random.uniform(key, images.shape)

    return jax.jit(functools.partial(train_step, augment_fn=add_noise, ema_decay=0.9))


def test_preprocess_rescales_bytes_and_passes_floats():
    pixels = jnp.asarray([0, 51, 255], jnp.uint8).reshape(1, 1, 3, 1)
    rescaled = preprocess(pixels)
    assert rescaled.dtype == jnp.float32
    np.testing.assert_allclose(rescaled.ravel(), [0.0, 0.2, 1.0], rtol=1e-6)
    assert_same_bits(preprocess(rescaled), rescaled)
    assert preprocess(rescaled.astype(jnp.bfloat16)).dtype == jnp.float32


def test_a_step_is_pure(step, make_tiny_state, batch):
    state = make_tiny_state(use_ema=True)
    before = jax.tree.map(jnp.copy, (state, batch))
    first, second = step(state, batch, KEY), step(state, batch, KEY)
    assert_same_bits(first, second)
    assert_same_bits((state, batch), before)


def test_the_last_steps_see_the_images_as_they_are(step, make_tiny_state, batch):
    """Bit for bit what a step without augmentation does; the others do what they did."""
    function = step.__wrapped__
    plain = jax.jit(functools.partial(function, augment_fn=None))
    ending = jax.jit(functools.partial(function, plain_from=3))
    for number, expected in ((2, step), (3, plain), (4, plain)):
        state = make_tiny_state(use_ema=True).replace(step=jnp.asarray(number))
        assert_same_bits(ending(state, batch, KEY), expected(state, batch, KEY))
    changed, unchanged = (function_of(make_tiny_state(), batch, KEY) for function_of in (step, plain))
    assert not same_bits(changed[0].params, unchanged[0].params)


def test_the_last_steps_mix_nothing(make_tiny_state, batch):
    warp = RandomAffine(20.0, 0.1, 0.1, 10.0, 0.1)
    mixing = Augmentation(warp, num_classes=3, mixup_alpha=1.0)
    ending = jax.jit(functools.partial(train_step, augment_fn=mixing, plain_from=0, label_smoothing=0.1))
    plain = jax.jit(functools.partial(train_step, label_smoothing=0.1))
    assert_close(*(one(make_tiny_state(), batch, KEY)[0].params for one in (ending, plain)), atol=1e-6)


def test_a_step_moves_everything_it_should(step, make_tiny_state, batch):
    state = make_tiny_state(use_ema=True)
    after, metrics = step(state, batch, KEY)
    assert after.step == 1 and after.step.dtype == jnp.int32
    for name in ("params", "batch_stats", "opt_state", "ema"):
        assert not same_bits(getattr(state, name), getattr(after, name)), name
    assert 0 <= int(metrics.num_correct) <= 8
    assert jnp.isfinite(metrics.loss_sum)


def test_random_numbers_depend_on_key_and_step_alone(step, make_tiny_state, batch):
    state = make_tiny_state(use_ema=True)
    later = state.replace(step=jnp.int32(7))
    reached_otherwise = step(state, batch, KEY)[0].replace(
        step=jnp.int32(7), params=state.params, batch_stats=state.batch_stats, opt_state=state.opt_state
    )
    loss = step(later, batch, KEY)[1].loss_sum
    assert step(reached_otherwise, batch, KEY)[1].loss_sum == loss
    assert step(state, batch, KEY)[1].loss_sum != loss
    assert step(later, batch, jax.random.key(6))[1].loss_sum != loss


def test_augmentation_and_dropout_have_different_keys(make_tiny_state, tiny_perceptron, batch):
    """The keys themselves, seen from inside: neither is used twice, neither is the run's own."""
    seen = {}

    def augment(key, images):
        seen["augment"] = key
        return images

    state = make_tiny_state(model=tiny_perceptron)
    apply = state.apply_fn

    def spy(*args, **kwargs):
        seen["dropout"] = kwargs["rngs"]["dropout"]
        return apply(*args, **kwargs)

    def run(state, key):
        train_step(state.replace(apply_fn=spy), batch, key, augment_fn=augment)
        return tuple(jax.random.key_data(seen[name]) for name in ("augment", "dropout"))

    run = jax.jit(run)
    keys = [run(state.replace(step=jnp.int32(n)), KEY) for n in (0, 1)]
    drawn = {tuple(np.asarray(key).tolist()) for pair in keys for key in pair}
    assert len(drawn) == 4
    assert tuple(np.asarray(jax.random.key_data(KEY)).tolist()) not in drawn


def test_without_dropout_and_augmentation_the_key_does_not_matter(make_tiny_state, tiny_perceptron, batch):
    state = make_tiny_state(model=tiny_perceptron.clone(dropout_rate=0.0))
    run = jax.jit(train_step)
    assert_same_bits(run(state, batch, KEY), run(state, batch, jax.random.key(9)))


def test_a_step_is_traced_once(make_tiny_state, tiny_perceptron, tiny_data):
    traces = 0

    def count(key, images):
        nonlocal traces
        traces += 1
        return images

    run = jax.jit(functools.partial(train_step, augment_fn=count), donate_argnums=0)
    state = make_tiny_state(model=tiny_perceptron)
    images, labels = tiny_data
    for n in range(4):
        rows = slice(8 * n, 8 * n + 8)
        state, _ = run(state, {"image": images[rows], "label": labels[rows]}, jax.random.key(n))
    assert int(state.step) == 4
    assert traces == 1


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_label_smoothing_is_its_formula(make_tiny_state, tiny_perceptron, batch, smoothing):
    state = make_tiny_state(model=tiny_perceptron)
    seen = []

    def apply(*args, **kwargs):
        logits, updates = tiny_perceptron.apply(*args, **kwargs)
        jax.debug.callback(seen.append, logits)
        return logits, updates

    run = jax.jit(functools.partial(train_step, label_smoothing=smoothing))
    _, metrics = jax.block_until_ready(run(state.replace(apply_fn=apply), batch, KEY))
    jax.effects_barrier()
    # (1 - s) of the target on the class, s spread evenly over all of them.
    targets = (1 - smoothing) * np.eye(3)[batch["label"]] + smoothing / 3
    assert float(metrics.loss_sum) == pytest.approx(-(targets * log_softmax(seen[0])).sum(), rel=1e-5)
    assert int(metrics.num_correct) == (np.argmax(seen[0], axis=1) == batch["label"]).sum()


def test_a_label_may_be_a_distribution(make_tiny_state, tiny_perceptron, batch):
    state = make_tiny_state(model=tiny_perceptron)
    run = jax.jit(train_step)
    soft = {**batch, "label": jax.nn.one_hot(batch["label"], 3)}
    results = [run(state, given, KEY) for given in (batch, soft)]
    assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.15, 0.995])
def test_the_average_of_parameters_and_statistics(make_tiny_state, tiny_perceptron, batch, decay):
    run = jax.jit(functools.partial(train_step, ema_decay=decay))
    state = make_tiny_state(model=tiny_perceptron, use_ema=True, learning_rate=0.1)
    average = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.variables())
    for n in range(4):
        state, _ = run(state, batch, KEY)
        # Of the old, no more than (1 + n) / (10 + n): so the first values are soon forgotten.
        keep = min(decay, (1 + n) / (10 + n))
        average = jax.tree.map(
            lambda old, new, keep=keep: keep * old + (1 - keep) * new, average, state.variables()
        )
        assert_close(state.ema, average, rtol=1e-4, atol=1e-6)


def test_training_learns_the_tiny_images(make_tiny_state, batch):
    run = jax.jit(train_step)
    state = make_tiny_state()
    for _ in range(60):
        state, metrics = run(state, batch, KEY)
    assert state.ema is None
    assert float(metrics.loss_sum) / 8 < 0.2 and int(metrics.num_correct) == 8


def test_eval_step_counts_the_rows_that_are_not_padding(tiny_model, make_tiny_state, batch):
    variables = make_tiny_state().variables()
    mask = jnp.arange(8) < 5
    run = jax.jit(functools.partial(eval_step, tiny_model.apply))
    sums, predicted = run(variables, batch["image"], batch["label"], mask)
    logits = tiny_model.apply(variables, batch["image"] / 255)
    np.testing.assert_array_equal(predicted, np.argmax(logits, axis=1))
    labels = np.asarray(batch["label"])
    expected = -log_softmax(logits)[np.arange(8), labels][:5].sum()
    assert float(sums.loss_sum) == pytest.approx(expected, rel=1e-5)
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (labels[:5], np.argmax(logits, axis=1)[:5]), 1)
    np.testing.assert_array_equal(sums.confusion, confusion)


@pytest.mark.parametrize("conv", ["gemm", "lax"])
def test_three_steps_equal_numpys(golden_training, conv):
    """Losses, gradients, decay, statistics and average against golden/make_tiny_training_golden.py."""
    golden = golden_training(conv)
    arrays = golden.arrays
    tx = create_optimizer(**golden.optimizer)
    variables = golden.variables("start")
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        opt_state=tx.init(variables["params"]),
        ema=jax.tree.map(jnp.copy, variables),
        apply_fn=golden.model.apply,
        tx=tx,
        **variables,
    )
    run = jax.jit(functools.partial(train_step, **golden.step))
    for n in range(3):
        batch = {"image": arrays["images"][n], "label": arrays["labels"][n]}
        state, metrics = run(state, batch, KEY)
        assert float(metrics.loss_sum) / 8 == pytest.approx(arrays["losses"][n], abs=1e-5)
        assert int(metrics.num_correct) == arrays["num_correct"][n]
        if n == 0:
            # Adam's first moment is then a tenth of the gradient.
            gradients = jax.tree.map(lambda leaf: 10 * leaf, state.opt_state[0].mu)
            assert_close(gradients, golden.variables("gradient")["params"], rtol=1e-4, atol=1e-6)
    assert_close(state.variables(), golden.variables("end"), rtol=1e-5, atol=5e-6)
    assert_close(state.ema, golden.variables("ema"), rtol=1e-5, atol=5e-6)
    logits = state.apply_fn(state.variables(), preprocess(jnp.asarray(arrays["images"][0])))
    np.testing.assert_allclose(logits, arrays["end/logits_eval"], atol=2e-5)


@pytest.mark.parametrize("momentum", [0.5, 0.99])
def test_moments_of_the_batches_are_averaged_faster_at_first(make_tiny_state, batch, momentum):
    class Normalized(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            x = nn.BatchNorm(use_running_average=not train, momentum=0.0)(images.reshape(len(images), -1))
            return nn.Dense(3)(x)

    state = make_tiny_state(model=Normalized(), use_ema=True)
    run = jax.jit(functools.partial(train_step, statistics_momentum=momentum, ema_decay=0.25))
    expected = expected_ema = np.zeros(90)
    for step in range(4):
        scaled = {**batch, "image": jnp.asarray(batch["image"]) * (1 + step) / 8}
        state, _ = run(state, scaled, KEY)
        mean = np.asarray(preprocess(scaled["image"])).reshape(len(batch["label"]), -1).mean(axis=0)
        limit = (1 + step) / (10 + step)
        expected = expected + (1 - min(momentum, limit)) * (mean - expected)
        expected_ema = expected_ema + (1 - min(0.25, limit)) * (mean - expected_ema)
    assert_close(state.batch_stats["BatchNorm_0"]["mean"], expected, rtol=1e-5)
    # With the weights their statistics are averaged: the moments, not what is already an average.
    assert_close(state.ema["batch_stats"]["BatchNorm_0"]["mean"], expected_ema, rtol=1e-5)


def test_accumulated_without_batch_norm_a_batch_is_as_one_of_twice_the_size(tiny_data):
    class Linear(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            return nn.Dense(3)(images.reshape(images.shape[0], -1))

    ends = []
    for batch_size, accumulation_steps in ((16, 1), (8, 2)):
        tx = create_optimizer(0.1, name="sgd", accumulation_steps=accumulation_steps)
        state = create_train_state(jax.random.key(0), Linear(), (10, 9, 1), tx)
        keys, num_steps = RunKeys.from_seed(0), 5 * accumulation_steps
        sizes = {"batch_size": batch_size, "num_examples": 80, "static_length": False}
        run = jit_train_steps(train_step, **sizes)
        images, labels = (array[:80] for array in tiny_data)
        log = EpochLog.empty(80 // batch_size)
        ends.append(run(state, log, images, labels, keys, np.int32(num_steps))[0])
    large, small = ends
    assert (large.step, small.step) == (5, 10)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), small.params, large.params
    )
