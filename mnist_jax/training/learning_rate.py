"""The learning rate over time."""

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
