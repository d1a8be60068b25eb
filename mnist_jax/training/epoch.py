"""Many steps in one call, with the data set resident on the device."""

from collections.abc import Callable
from typing import Any, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Shaped, UInt8

from mnist_jax.metrics.sums import Metrics
from mnist_jax.training.epoch_log import EpochLog, side_by_side
from mnist_jax.training.order import epoch_order
from mnist_jax.training.state import TrainState

TrainStep = Callable[[TrainState, dict[str, Array], Any], tuple[TrainState, Metrics]]
DrawStep = Callable[[jax.Array, Int[Array, ""]], Any]


# JAX builds it anew with anything for leaves (shapes, shardings, None), which no check may refuse.
@no_type_check
@flax.struct.dataclass
class RunKeys:
    """Typed keys of the named random streams of a run, all from one seed."""

    params: jax.Array
    train: jax.Array
    shuffle: jax.Array
    # Of the examples in the epoch under way, int32 ``[examples]``; None draws it from ``shuffle``.
    order: jax.Array | None = None

    @classmethod
    def from_seed(cls, seed: int) -> "RunKeys":
        """Splits the seed, 0 to 2**32 - 1, once, by one program."""
        return cls(*_split(np.uint32(seed)))


@jax.jit
def _split(seed: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(jax.random.split(jax.random.key(seed), 3))


def jit_train_steps(
    train_step: TrainStep,
    *,
    batch_sharding: NamedSharding | None = None,
    static_length: bool = True,
    **settings: Any,
) -> Callable[..., tuple[TrainState, EpochLog]]:
    """Compiles what `make_train_steps` makes of the same arguments; ``state`` and ``log`` are donated."""
    run = make_train_steps(train_step, batch_sharding=batch_sharding, static_length=static_length, **settings)
    options: dict[str, Any] = {"static_argnames": "num_steps"} if static_length else {}
    if batch_sharding is not None:
        options["out_shardings"] = NamedSharding(batch_sharding.mesh, PartitionSpec())
    return jax.jit(run, donate_argnames=("state", "log"), **options)


def make_train_steps(
    train_step: TrainStep,
    *,
    batch_size: int,
    num_examples: int,
    batch_sharding: NamedSharding | None = None,
    static_length: bool = True,
    draw_step: DrawStep | None = None,
) -> Callable[..., tuple[TrainState, EpochLog]]:
    """Makes ``run(state, log, images, labels, keys, num_steps) -> (state, log)``, to be compiled.

    Step ``n`` takes the rows of ``epoch_order`` that belong to it, so any way of cutting a run into calls
    gives the same bits. A call must not cross the end of an epoch.

    Args:
        train_step: ``(state, batch, key or draws) -> (state, metrics)``.
        batch_size: examples a step.
        num_examples: examples in the data set; the remainder of an epoch that fills no batch is left out of
            that epoch.
        batch_sharding: how a batch is spread over devices, or None on one device.
        static_length: whether the number of steps is compiled in (accelerators run such a loop without asking
            the host) or an argument (one program for every length).
        draw_step: ``(key, step) -> draws``. Where the length is compiled in, those of all steps are drawn
            before the loop, at once; otherwise ``train_step`` gets the run's key.
    """
    steps_per_epoch = num_examples // batch_size

    def run(
        state: TrainState,
        log: EpochLog,
        images: UInt8[Array, "examples height width channels"],
        labels: Shaped[Array, "examples ..."],
        keys: RunKeys,
        num_steps: int | Int[Array, ""],
    ) -> tuple[TrainState, EpochLog]:
        order = keys.order
        if order is None:
            order = epoch_order(keys.shuffle, state.step // steps_per_epoch, num_examples)
        if order.shape != (num_examples,):
            raise ValueError(f"an order of {order.shape} examples; expected one of {num_examples}")

        def body(state: TrainState, draws: Any) -> tuple[TrainState, Metrics]:
            rows = lax.dynamic_slice_in_dim(order, state.step % steps_per_epoch * batch_size, batch_size)
            if batch_sharding is not None:
                # The rows are cut, so each device gathers its own part only.
                rows = lax.with_sharding_constraint(rows, batch_sharding)
            batch = {"image": images[rows], "label": labels[rows]}
            if batch_sharding is not None:
                batch = lax.with_sharding_constraint(batch, batch_sharding)
            return train_step(state, batch, keys.train if draws is None else draws)

        def body_with_log(carry: tuple[TrainState, EpochLog], draws: Any) -> tuple[TrainState, EpochLog]:
            state, metrics = body(carry[0], draws)
            return state, carry[1].record(carry[0].step % steps_per_epoch, metrics)

        if not static_length:
            return lax.fori_loop(0, num_steps, lambda _, c: body_with_log(c, None), (state, log))
        assert isinstance(num_steps, int)
        first = state.step % steps_per_epoch
        draws = draw_step and jax.vmap(draw_step, (None, 0))(keys.train, state.step + jnp.arange(num_steps))
        state, sums = lax.scan(lambda c, d: side_by_side(*body(c, d)), state, draws, length=num_steps)
        return state, log.record_steps(first, sums)

    return run
