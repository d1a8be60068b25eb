"""What the contenders on Flax share: the plain network."""

import flax.linen as nn
import jax

from benchmarks.contenders import Work
from benchmarks.networks import in_flax


def make_network(work: Work) -> nn.Module:
    """Makes the work's network from Flax' own layers, computed as the work's dtype says."""
    if work.dtype == "float32":
        # An accelerator would take TF32 or less by default; this process is the contender's own.
        jax.config.update("jax_default_matmul_precision", "highest")
    return in_flax.make_network(work.network, "bfloat16" if work.dtype == "bfloat16" else "float32")
