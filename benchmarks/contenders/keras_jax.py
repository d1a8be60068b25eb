"""Keras 3 on JAX."""

from benchmarks.contenders import Runner, Work

TITLE = "Keras on JAX"
PACKAGES = ("keras", "jax")


def build(work: Work) -> Runner:
    """Builds the Keras model on this backend."""
    import jax

    from benchmarks.contenders import keras_shared

    if work.dtype == "float32":
        jax.config.update("jax_default_matmul_precision", "highest")

    def describe() -> str:
        return str(jax.devices()[0].device_kind)

    return keras_shared.build(work, "jax", describe, ("jax", "jaxlib"))
