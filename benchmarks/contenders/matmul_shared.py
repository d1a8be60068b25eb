"""The device's own matrix-product rate, measured like a contender: a step is one chain of products."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.contenders import Runner, Work

# Long enough that a chain takes a good part of a second on a CPU and much longer than a dispatch on a GPU.
_FLOPS_PER_UNIT = {"cpu": 2e10, "gpu": 5e12, "tpu": 5e12}


def build(work: Work, rows: int, width: int) -> Runner:
    """Chains products ``[rows, width] x [width, width]`` on the device, with nothing between them.

    Args:
        work: its ``dtype`` says how products are computed.
        rows: of the left factor.
        width: of the right factor.
    """
    dtype = jnp.bfloat16 if work.dtype == "bfloat16" else jnp.float32
    precision = lax.Precision.HIGHEST if work.dtype == "float32" else lax.Precision.DEFAULT
    flops_per_product = 2 * rows * width * width
    length = max(2, math.ceil(_FLOPS_PER_UNIT[jax.default_backend()] / flops_per_product))
    random = np.random.default_rng(0)
    # Scaled so that the values neither grow nor fade along the chain.
    left = jnp.asarray(random.standard_normal((rows, width)), dtype)
    right = jnp.asarray(random.standard_normal((width, width)) / math.sqrt(width), dtype)

    @jax.jit
    def chain(x: jax.Array, y: jax.Array) -> jax.Array:
        return lax.fori_loop(0, length, lambda _, product: jnp.matmul(product, y, precision=precision), x)

    def run(num_units: int) -> None:
        for _ in range(num_units):
            result = chain(left, right)
        jax.block_until_ready(result)

    return Runner(
        run=run,
        device=str(jax.devices()[0].device_kind),
        distributions=("jax", "jaxlib"),
        facts=lambda: {"flops_per_step": flops_per_product * length, "shape": [rows, width, width]},
    )
