"""The optimizer and its learning rate over time."""

import jax
import jax.numpy as jnp
import optax

SCHEDULES = ("constant", "cosine", "one_cycle")


def create_learning_rate_fn(
    schedule: str,
    learning_rate: float,
    total_steps: int,
    *,
    warmup_steps: int = 0,
    end_fraction: float = 0.0,
) -> optax.Schedule:
    """Builds the learning rate as a function of the step.

    Args:
        schedule: ``constant``; ``cosine`` (half a cosine from the peak to the end); ``one_cycle`` (half a
            cosine up from a twenty-fifth of the peak over the warm-up, or over 30% of the run where no
            warm-up is given, then half a cosine down: Smith and Topin 2018).
        learning_rate: the peak.
        total_steps: length of the run, in steps.
        warmup_steps: length of the rise to the peak, linear for ``constant`` and ``cosine``, in steps.
        end_fraction: last learning rate as a fraction of the peak, for ``cosine`` and ``one_cycle``.

    Raises:
        ValueError: for an unknown schedule or a warm-up that does not end within the run.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule {schedule!r} is not known; expected one of {', '.join(SCHEDULES)}")
    if not 0 <= warmup_steps < max(total_steps, 1):
        raise ValueError(f"a warm-up of {warmup_steps} steps does not fit into a run of {total_steps}")
    end = learning_rate * end_fraction
    if schedule == "one_cycle":
        rise = warmup_steps or round(0.3 * total_steps)
        if rise == 0:
            return optax.cosine_decay_schedule(learning_rate, total_steps, alpha=end_fraction)
        # optax' cosine decay runs down; from the low rate with alpha > 1 it runs up by the same half cosine.
        up = optax.cosine_decay_schedule(learning_rate / 25, rise, alpha=25.0)
        down = optax.cosine_decay_schedule(learning_rate, max(total_steps - rise, 1), alpha=end_fraction)
        return optax.join_schedules([up, down], [rise])
    if schedule == "cosine":
        if warmup_steps:
            return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup_steps, total_steps, end)
        return optax.cosine_decay_schedule(learning_rate, total_steps, alpha=end_fraction)
    if warmup_steps:
        return optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return optax.constant_schedule(learning_rate)


def scale_by_adam(b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-7) -> optax.GradientTransformation:
    """Adam's direction, epsilon added to the root before bias correction, as Keras and TensorFlow do.

    This is the efficient form at the end of section 2 of Kingma and Ba (2015), ``m sqrt(1 - b2^t) / (1 -
    b1^t) / (sqrt(v) + epsilon)``. ``optax.scale_by_adam`` adds epsilon after the correction, which makes it
    about 30 times smaller in the first steps; where a gradient is pure rounding (a bias in front of
    BatchNorm) that is the difference between resting and a full step at random.

    Args:
        b1: decay of the mean of gradients.
        b2: decay of the mean of squared gradients.
        epsilon: added to the root of the second moment.
    """

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        return optax.ScaleByAdamState(
            count=jnp.zeros((), jnp.int32),
            mu=jax.tree.map(jnp.zeros_like, params),
            nu=jax.tree.map(jnp.zeros_like, params),
        )

    def update(
        updates: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        del params
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        correction = jnp.sqrt(1.0 - b2**count) / (1.0 - b1**count)
        directions = jax.tree.map(lambda m, v: m * correction / (jnp.sqrt(v) + epsilon), mu, nu)
        return directions, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)


def create_optimizer(
    learning_rate_fn: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Adam as Keras computes it (Kingma and Ba 2015), where asked with decoupled weight decay (AdamW).

    Args:
        learning_rate_fn: learning rate, or learning rate by step.
        b1: decay of the mean of gradients.
        b2: decay of the mean of squared gradients.
        epsilon: added to the root, see :func:`scale_by_adam`.
        weight_decay: share of each kernel taken off per step and unit of learning rate; biases and BatchNorm
            are spared.
    """
    decay = optax.add_decayed_weights(weight_decay, mask=_is_kernel) if weight_decay > 0 else optax.identity()
    return optax.chain(scale_by_adam(b1, b2, epsilon), decay, optax.scale_by_learning_rate(learning_rate_fn))


def _is_kernel(params: optax.Params) -> optax.Params:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
