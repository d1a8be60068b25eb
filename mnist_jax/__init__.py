"""A small-image training pipeline in JAX and Flax, on CPU, GPU or TPU with the same code."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_jax.run.load import LoadedModel, load

__all__ = ["LoadedModel", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports what needs JAX only when it is used, so that ``--help`` does not wait for it."""
    if name in __all__:
        from mnist_jax.run import load as loading

        return getattr(loading, name)
    raise AttributeError(f"module 'mnist_jax' has no attribute {name!r}")
