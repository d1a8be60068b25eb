"""Stock Flax: the network as it is, one jitted call a step, as Flax' own examples have it."""

import functools

import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

from benchmarks import contenders as c
from benchmarks.contenders.flax_shared import make_network

TITLE = "stock Flax loop"
PACKAGES = ("jax", "flax", "optax")


class BatchNormState(TrainState):
    """Flax' own state with BatchNorm's statistics."""

    batch_stats: dict


@functools.partial(jax.jit, donate_argnums=0)
def train_step(state, images, labels, key):
    """One update."""

    def loss_fn(params):
        logits, updates = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            images.astype(jnp.float32) / 255.0,
            train=True,
            rngs={"dropout": jax.random.fold_in(key, state.step)},
            mutable=["batch_stats"],
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), updates["batch_stats"]

    (loss, batch_stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=gradients).replace(batch_stats=batch_stats), loss


def build(work: c.Work) -> c.Runner:
    """Initializes the network and puts the data on the device."""
    model = make_network(work)
    variables = model.init(jax.random.key(0), jnp.zeros((1, *work.image_shape)), train=False)
    state = BatchNormState.create(
        apply_fn=model.apply,
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        tx=optax.adam(c.LEARNING_RATE, eps=c.ADAM_EPSILON),
    )
    images, labels = jax.device_put((work.images(), work.labels()))
    key, position, loss = jax.random.key(1), 0, None

    def run(num_steps: int) -> None:
        nonlocal state, position, loss
        for _ in range(num_steps):
            start = position * work.batch_size
            batch = slice(start, start + work.batch_size)
            state, loss = train_step(state, images[batch], labels[batch], key)
            position = (position + 1) % work.steps_per_epoch
        jax.block_until_ready(state)

    return c.Runner(
        run=run,
        device=str(jax.devices()[0].device_kind),
        distributions=("jax", "jaxlib", "flax", "optax", "numpy"),
        facts=lambda: {
            "num_params": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
            "last_loss": float(loss),
        },
    )
