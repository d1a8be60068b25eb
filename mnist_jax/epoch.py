"""Many steps in one call, with the data set resident on the device (floor 3)."""

import functools
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, UInt8

from mnist_jax.metrics import Metrics
from mnist_jax.state import TrainState

TrainStep = Callable[[TrainState, dict[str, Array], jax.Array], tuple[TrainState, Metrics]]


@flax.struct.dataclass
class StreamKeys:
    """Typed keys of the named random streams of a run, all from one seed."""

    params: jax.Array
    train: jax.Array
    shuffle: jax.Array

    @classmethod
    def from_seed(cls, seed: int) -> "StreamKeys":
        """Splits the seed once."""
        params, train, shuffle = jax.random.split(jax.random.key(seed), 3)
        return cls(params, train, shuffle)


@flax.struct.dataclass
class RunningMetrics:
    """Sums since the last line of the log and since the start of the epoch, carried through the steps."""

    window: Metrics
    epoch: Metrics

    @classmethod
    def empty(cls) -> "RunningMetrics":
        """Nothing counted yet."""
        return cls(Metrics.empty(), Metrics.empty())


def epoch_order(shuffle_key: jax.Array, epoch: Array | int, num_examples: int) -> Int[Array, " num_examples"]:
    """The order of the examples in an epoch: a function of the seed and the epoch alone."""
    return jax.random.permutation(jax.random.fold_in(shuffle_key, epoch), num_examples)


def make_train_steps(
    train_step: TrainStep,
    *,
    batch_size: int,
    num_examples: int,
    batch_sharding: jax.sharding.Sharding | None = None,
    unroll: int = 1,
    static_length: bool = True,
) -> Callable[..., tuple[TrainState, RunningMetrics]]:
    """Compiles ``run(state, running, images, labels, keys, num_steps) -> (state, running)``.

    Step ``n`` takes the rows of ``epoch_order`` that belong to it, so any way of cutting a run into calls gives the same bits. A call
    must not cross the end of an epoch. ``state`` and ``running`` are donated.

    Args:
        train_step: ``(state, batch, key) -> (state, metrics)``.
        batch_size: examples a step.
        num_examples: examples in the data set; the remainder of an epoch that fills no batch is left out of that epoch.
        batch_sharding: how a batch is spread over devices, or None on one device.
        unroll: steps per iteration of the loop on the device; more of them spare an accelerator's host round trips.
        static_length: whether the number of steps is compiled in (accelerators run such a loop without asking the host) or an
            argument (one program for every length).
    """
    steps_per_epoch = num_examples // batch_size

    def run(
        state: TrainState,
        running: RunningMetrics,
        images: UInt8[Array, "examples height width channels"],
        labels: Int[Array, " examples"],
        keys: StreamKeys,
        num_steps: int,
    ) -> tuple[TrainState, RunningMetrics]:
        order = epoch_order(keys.shuffle, state.step // steps_per_epoch, num_examples)

        def body(carry: tuple[TrainState, RunningMetrics]) -> tuple[TrainState, RunningMetrics]:
            state, running = carry
            rows = lax.dynamic_slice_in_dim(order, (state.step % steps_per_epoch) * batch_size, batch_size)
            batch = {"image": images[rows], "label": labels[rows]}
            if batch_sharding is not None:
                batch = lax.with_sharding_constraint(batch, batch_sharding)
            state, metrics = train_step(state, batch, keys.train)
            return state, RunningMetrics(running.window.merge(metrics), running.epoch.merge(metrics))

        carry = (state, running)
        if static_length:
            return lax.scan(lambda c, _: (body(c), None), carry, length=num_steps, unroll=min(unroll, num_steps))[0]
        return lax.fori_loop(0, num_steps, lambda _, c: body(c), carry)

    static = ("num_steps",) if static_length else ()
    return functools.partial(jax.jit, donate_argnames=("state", "running"), static_argnames=static)(run)
