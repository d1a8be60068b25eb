"""Stock Flax: ``nn.Conv`` and ``nn.max_pool``, one jitted call a step, as Flax' own examples have it."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

from benchmarks import contenders as c

TITLE = "stock Flax loop"
PACKAGES = ("jax", "flax", "optax")


class StockCNN(nn.Module):
    """The article's network from Flax' own layers."""

    dtype: str
    precision: jax.lax.Precision

    @nn.compact
    def __call__(self, x, train: bool):
        """Gives float32 logits for images in [0, 1]."""
        dtype = jnp.dtype(self.dtype)
        normalize = functools.partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=c.BATCH_NORM_MOMENTUM,
            epsilon=c.BATCH_NORM_EPSILON,
            dtype=dtype,
        )
        kernel = (c.KERNEL_SIZE, c.KERNEL_SIZE)
        options = {
            "dtype": dtype,
            "precision": self.precision,
            "kernel_init": nn.initializers.glorot_uniform(),
        }
        for i, features in enumerate(c.FEATURES):
            x = nn.Conv(features, kernel, padding="VALID", **options)(x)
            x = nn.relu(normalize()(x))
            if i in c.POOL_AFTER:
                x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(normalize()(nn.Dense(c.DENSE_FEATURES, **options)(x)))
        x = nn.Dropout(c.DROPOUT_RATE, deterministic=not train)(x)
        return nn.Dense(c.NUM_CLASSES, **options)(x).astype(jnp.float32)


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
    precise = jax.lax.Precision.HIGHEST if work.dtype == "float32" else jax.lax.Precision.DEFAULT
    model = StockCNN("bfloat16" if work.dtype == "bfloat16" else "float32", precise)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)), train=False)
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
