"""A batch that devices share by `share_batch`: the same gradient and sums, in few messages."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mnist_jax.models.cnn import CNN
from mnist_jax.models.layers import BatchNorm
from mnist_jax.ops.shared_batch import mean_over_devices, num_sharing
from mnist_jax.training.data_parallel import share_batch
from mnist_jax.training.groups import freeze_step, names_of
from mnist_jax.training.step import train_step
from tests.conftest import TINY_NUM_CLASSES

KEY = jax.random.key(5)
SPREAD = NamedSharding(Mesh(np.array(jax.devices()[:4]), ("data",)), PartitionSpec("data"))
SHARE = share_batch(SPREAD)


class LayerByLayer(nn.Module):
    """BatchNorm on its own, whose gradient is JAX', between what needs nothing of other rows."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(6)(images.reshape(len(images), -1))
        x = nn.Dropout(0.4, deterministic=not train)(nn.relu(BatchNorm(6)(x, train)))
        return nn.Dense(TINY_NUM_CLASSES)(x)


@pytest.fixture(scope="module")
def batch(tiny_data):
    return {"image": tiny_data[0][:16], "label": tiny_data[1][:16]}


def spread(batch):
    return jax.device_put(batch, SPREAD)


def small(**fields):
    """A first convolution whose patches have few numbers, so that it is computed with its BatchNorm."""
    sizes = {"features": (5, 4), "pool_after": (0,), "dense_features": 8}
    return CNN(num_classes=TINY_NUM_CLASSES, **sizes, **fields)


@pytest.mark.parametrize(
    ("model", "generator"),
    [
        (small(conv="gemm"), None),
        (small(conv="fused"), None),
        (small(conv="lax"), None),
        (LayerByLayer(), None),
        (LayerByLayer(), "rbg"),
    ],
    ids=["gemm", "fused", "lax", "layer by layer", "another generator"],
)
def test_devices_that_share_a_batch_do_the_step_of_one(make_tiny_state, batch, model, generator):
    """Dropout included: each of the rows is dropped as it would be on one device."""
    # A large epsilon: of a bias in front of BatchNorm the gradient is rounding, which Adam would blow up.
    state = make_tiny_state(model=model, epsilon=1.0)
    key = jax.random.key(5, impl=generator)
    expected, sums = jax.jit(train_step)(state, batch, key)
    ours, shared_sums = jax.jit(functools.partial(train_step, share_batch=SHARE))(state, spread(batch), key)
    np.testing.assert_allclose(shared_sums.loss_sum, sums.loss_sum, rtol=1e-5)
    assert shared_sums.num_correct.dtype == jnp.int32 and shared_sums.num_correct == sums.num_correct
    for name, *leaves in zip(
        names_of((ours.params, ours.batch_stats)),
        jax.tree.leaves((ours.params, ours.batch_stats)),
        jax.tree.leaves((expected.params, expected.batch_stats)),
        strict=True,
    ):
        np.testing.assert_allclose(*leaves, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_step_has_one_message_a_batch_norm_and_direction_and_one_for_all_the_rest(make_tiny_state, batch):
    """The first block's needs none on the way back; what is sent is float32."""
    for dtype in ("float32", "bfloat16"):
        step = jax.jit(functools.partial(train_step, share_batch=SHARE))
        state = make_tiny_state(model=small(conv="gemm", dtype=dtype))
        text = step.lower(state, spread(batch), KEY).compile().as_text()
        sums = [line for line in text.splitlines() if " all-reduce(" in line]
        assert len(sums) == 3 + 2 + 1, sums
        assert all("= f32[" in line for line in sums), sums
        assert not any(kind in text for kind in ("all-gather(", "all-to-all(", "collective-permute("))


def test_what_is_frozen_is_not_sent(make_tiny_state, batch):
    patterns = ("conv0", "dense")
    state = make_tiny_state(model=small(conv="gemm"))
    share = share_batch(SPREAD, patterns)
    step = jax.jit(freeze_step(functools.partial(train_step, share_batch=share), patterns))
    text = step.lower(state, spread(batch), KEY).compile().as_text()
    sums = [line for line in text.splitlines() if " all-reduce(" in line]
    trained = [state.params["conv1"], state.params["head"]]
    numbers = sum(leaf.size for leaf in jax.tree.leaves(trained))
    # That of the block between, forward and backward, and the vector with loss and hits.
    assert len(sums) == 3 and any(f"f32[{numbers + 2}]" in line for line in sums), sums


def test_alone_nothing_is_summed():
    assert num_sharing() == 1
    pair = (jnp.ones(2), jnp.zeros(2))
    assert mean_over_devices(*pair) == pair
