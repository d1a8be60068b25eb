"""The output of each layer of a network."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from mnist_jax.training.step import preprocess


def layer_outputs(
    module: nn.Module,
    variables: dict[str, PyTree],
    images: Shaped[Array | np.ndarray, "batch height width channels"],
) -> dict[str, Float[np.ndarray, "batch ..."]]:
    """Runs a network once and keeps the output of each of its layers.

    Args:
        module: called as ``module.apply(variables, images, train=False)``.
        variables: ``{"params", "batch_stats"}``.
        images: uint8 or floating point in [0, 1].

    Returns:
        float32 ``[B, ...]`` by the layer's name, in the order of the network.
    """
    names: list[str] = []

    def run(variables: dict[str, PyTree], images: Array) -> list[Array]:
        outputs: list[Array] = []

        def keep(next_fun: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
            output = next_fun(*args, **kwargs)
            if context.method_name == "__call__" and context.module.path and isinstance(output, jax.Array):
                names.append("/".join(context.module.path))
                outputs.append(output.astype(np.float32))
            return output

        with nn.intercept_methods(keep):
            module.apply(variables, preprocess(images), train=False)
        return outputs

    outputs = jax.jit(run)(variables, images)
    return {name: np.asarray(output) for name, output in zip(names, outputs, strict=True)}
