"""What training carries from step to step."""

from collections.abc import Callable
from typing import Any, no_type_check

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PyTree

from mnist_jax.models.forward import forward_fn
from mnist_jax.models.registry import with_plain_convolutions
from mnist_jax.training.optimizer import evaluation_params


# JAX builds these anew with anything for leaves (shapes, shardings, None), which no check may refuse.
@no_type_check
class TrainState(flax.struct.PyTreeNode):
    """Parameters, BatchNorm statistics, optimizer state and their running average, at a step.

    Where members are trained side by side every leaf has a leading axis of members more.
    """

    step: Int[Array, "..."]  # int32 scalar, number of updates done
    params: PyTree  # trainable parameters
    batch_stats: PyTree  # running means and variances of BatchNorm
    opt_state: PyTree  # the optimizer's
    ema: PyTree | None  # ``{"params", "batch_stats"}``, the exponential moving average of both, or None
    apply_fn: Callable[..., Any] = flax.struct.field(pytree_node=False)  # `forward_fn` of the module
    tx: optax.GradientTransformation = flax.struct.field(pytree_node=False)  # the optimizer

    def variables(self) -> dict[str, PyTree]:
        """The variables as trained: ``{"params", "batch_stats"}``."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def eval_variables(self) -> dict[str, PyTree]:
        """The variables to evaluate with: an average, the optimizer's own too, or those as trained."""
        if self.ema is not None:
            return dict(self.ema)
        return {**self.variables(), "params": evaluation_params(self.opt_state, self.params)}


def initial_state(
    key: jax.Array,
    model: nn.Module,
    image_shape: tuple[int, ...],
    tx: optax.GradientTransformation,
    *,
    use_ema: bool = False,
) -> TrainState:
    """Initializes a model, called as ``model(images, train=...)``, and its optimizer; to be traced.

    A moving average of parameters and statistics (``use_ema``) starts at their first values.
    """
    # How convolutions are computed decides nothing here; these are traced sooner.
    plain = with_plain_convolutions(model)
    rngs = {"params": key, "dropout": key}
    variables = plain.init(rngs, jnp.zeros((1, *image_shape), jnp.float32), train=False)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=tx.init(params),
        ema=jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if use_ema else None,
        apply_fn=forward_fn(model),
        tx=tx,
    )


def jit_initial_state(*args: Any, **settings: Any) -> Callable[[jax.Array], TrainState]:
    """Jits `initial_state` of the same arguments but the key; not to be a part of another program."""
    # It runs once: on a CPU its random bits take six times longer to compile optimized, and are the same.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(lambda key: initial_state(key, *args, **settings), compiler_options=options)


@jax.jit
def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of every array in a pytree is finite."""
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))
