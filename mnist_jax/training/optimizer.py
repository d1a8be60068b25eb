"""The optimizers by name, and what is added to any of them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from mnist_jax.config.optimizers import OPTIMIZERS as FIELDS_OF

Rate: TypeAlias = optax.ScalarOrSchedule
Transformation: TypeAlias = optax.GradientTransformation

# What a field of an optimizer is where nothing is said; -1 stands for the momentum that its authors use.
DEFAULTS: Mapping[str, Any] = {
    "b1": 0.9,
    "b2": 0.999,
    "epsilon": 1e-7,
    "momentum": -1.0,
    "nesterov": True,
    "muon_dense": True,
    "weight_decay": 0.0,
}


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
    name: str = "adam",
    given: optax.GradientTransformation | None = None,
    clip_norm: float = 0.0,
    accumulation_steps: int = 1,
    **fields: Any,
) -> optax.GradientTransformation:
    """Builds an optimizer by name, or takes a given one; then adds clipping and accumulation.

    Args:
        learning_rate_fn: learning rate, or learning rate by update.
        name: a key of ``OPTIMIZERS``.
        given: any optax transformation, used instead of that of this name; its learning rate is its own.
        clip_norm: largest global norm of the gradient of an update; 0 = not clipped.
        accumulation_steps: gradients whose mean makes one update; the steps between do not move the
            parameters.
        **fields: those that the optimizer takes, see ``config.optimizers``, else ``DEFAULTS``. ``b1`` and
            ``b2`` are decays, ``epsilon`` is added to a root, ``momentum`` is the share of the old direction
            kept; ``weight_decay`` is the share of each kernel taken off per update and unit of learning rate,
            from which biases and BatchNorm are spared.

    Raises:
        ValueError: for an unknown name.
        TypeError: for a field that the optimizer does not take.
    """
    if given is None:
        if name not in OPTIMIZERS:
            raise ValueError(f"optimizer {name!r} is not known; expected one of {', '.join(OPTIMIZERS)}")
        own = {field: DEFAULTS[field] for field in FIELDS_OF[name].fields}
        given = OPTIMIZERS[name](learning_rate_fn, **(own | fields))
    if clip_norm > 0:
        given = optax.chain(optax.clip_by_global_norm(clip_norm), given)
    if accumulation_steps > 1:
        given = optax.MultiSteps(given, accumulation_steps).gradient_transformation()
    return given


def _adam(rate: Rate, *, b1: float, b2: float, epsilon: float, weight_decay: float) -> Transformation:
    """Adam as Keras computes it (Kingma and Ba 2015), see `scale_by_adam`, with AdamW's decay where asked."""
    decay = optax.add_decayed_weights(weight_decay, mask=_is_kernel) if weight_decay > 0 else optax.identity()
    return optax.chain(scale_by_adam(b1, b2, epsilon), decay, optax.scale_by_learning_rate(rate))


def _adamw(rate: Rate, *, b1: float, b2: float, epsilon: float, weight_decay: float) -> Transformation:
    return optax.adamw(rate, b1=b1, b2=b2, eps=epsilon, weight_decay=weight_decay, mask=_is_kernel)


def _sgd(rate: Rate, *, momentum: float, nesterov: bool, weight_decay: float) -> Transformation:
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=_is_kernel),
        optax.sgd(rate, momentum=0.9 if momentum < 0 else momentum, nesterov=nesterov),
    )


def _lamb(rate: Rate, *, b1: float, b2: float, epsilon: float, weight_decay: float) -> Transformation:
    return optax.lamb(rate, b1=b1, b2=b2, eps=epsilon, weight_decay=weight_decay, mask=_is_kernel)


def _lion(rate: Rate, *, b1: float, momentum: float, weight_decay: float) -> Transformation:
    b2 = 0.99 if momentum < 0 else momentum
    return optax.lion(rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=_is_kernel)


def _muon(
    rate: Rate,
    *,
    momentum: float,
    nesterov: bool,
    muon_dense: bool,
    b1: float,
    b2: float,
    epsilon: float,
    weight_decay: float,
) -> Transformation:
    return optax.contrib.muon(
        rate,
        beta=0.95 if momentum < 0 else momentum,
        eps=epsilon,
        weight_decay=weight_decay,
        nesterov=nesterov,
        adam_b1=b1,
        adam_b2=b2,
        muon_weight_dimension_numbers=functools.partial(_as_matrices, fewest_inputs=1 if muon_dense else 2),
        # Updates of Adam's size, so that one learning rate suits both (Liu et al. 2025).
        consistent_rms=0.2,
    )


def _schedule_free_adamw(
    rate: Rate, *, b1: float, b2: float, epsilon: float, weight_decay: float
) -> Transformation:
    """As optax.contrib.schedule_free_adamw, but that it spares biases and BatchNorm from the decay."""
    adamw_without_momentum = optax.chain(
        optax.scale_by_rms(decay=b2, eps=epsilon, eps_in_sqrt=False, bias_correction=True),
        optax.add_decayed_weights(weight_decay, mask=_is_kernel),
        optax.scale_by_learning_rate(rate),
    )
    return optax.contrib.schedule_free(adamw_without_momentum, rate, b1=b1)


def _prodigy(rate: Rate, *, b1: float, b2: float, epsilon: float, weight_decay: float) -> Transformation:
    # Without the safeguard a rate of 0, with which a warm-up begins, makes its estimate 0 / 0.
    return optax.contrib.prodigy(
        rate, betas=(b1, b2), eps=epsilon, weight_decay=weight_decay, safeguard_warmup=True
    )


OPTIMIZERS: Mapping[str, Callable[..., Transformation]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
    "lamb": _lamb,
    "lion": _lion,
    "muon": _muon,
    "schedule_free_adamw": _schedule_free_adamw,
    "prodigy": _prodigy,
}


def evaluation_params(opt_state: optax.OptState, params: optax.Params) -> optax.Params:
    """Returns the parameters to evaluate with: a schedule-free optimizer's average, else ``params``.

    An optimizer may be schedule-free for some of the parameters only, as in a partition.

    Args:
        opt_state: of any optimizer.
        params: as trained.
    """
    for state in jax.tree.leaves(opt_state, is_leaf=_is_schedule_free):
        if _is_schedule_free(state):
            params = _schedule_free_params(state, params)
    return params


def averages_weights(opt_state: optax.OptState) -> bool:
    """Whether an optimizer, by its state, evaluates with an average of its own, see `evaluation_params`."""
    return any(map(_is_schedule_free, jax.tree.leaves(opt_state, is_leaf=_is_schedule_free)))


def _is_schedule_free(state: Any) -> bool:
    return isinstance(state, optax.contrib.ScheduleFreeState)


@jax.jit
def _schedule_free_params(state: optax.contrib.ScheduleFreeState, params: optax.Params) -> optax.Params:
    def is_masked(leaf: Any) -> bool:
        return isinstance(leaf, optax.MaskedNode)

    # The tree of parameters comes first, for a masked node has no leaves.
    z = jax.tree.map(lambda y, z: y if is_masked(z) else z, params, state.z)
    averaged = optax.contrib.schedule_free_eval_params(state._replace(z=z), params)
    return jax.tree.map(lambda y, x, z: y if is_masked(z) else x, params, averaged, state.z)


def _is_kernel(params: optax.Params) -> optax.Params:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _as_matrices(params: optax.Params, fewest_inputs: int) -> optax.Params:
    """Kernels ``[..., out]`` as matrices of inputs by outputs, for Muon; None for the rest.

    A dense layer's kernel has one axis of inputs, a convolution's three; those with fewer than
    ``fewest_inputs`` are of the rest.
    """

    def of(leaf: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        *inputs, output = range(leaf.ndim)
        if len(inputs) < fewest_inputs:
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(inputs), output)

    return jax.tree.map(of, params)
