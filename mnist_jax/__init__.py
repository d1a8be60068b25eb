"""A small-image training pipeline in JAX and Flax, on CPU, GPU or TPU with the same code."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_jax.api import TrainedRun, evaluate, predict, study, train
    from mnist_jax.run.load import LoadedModel, load

__all__ = ["LoadedModel", "TrainedRun", "evaluate", "load", "predict", "study", "train"]
__version__ = "0.1.0"

# The commands' modules are the functions of the same name, see `cli.make_callable`.
_CALLABLE_MODULES = ("evaluate", "predict", "study", "train")
_PLACES = {"LoadedModel": "mnist_jax.run.load", "TrainedRun": "mnist_jax.api", "load": "mnist_jax.run.load"}


# A type checker is told the names above, and so finds one that is mistyped.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Imports what needs JAX only when it is used, so that ``--help`` does not wait for it."""
        if name in _CALLABLE_MODULES:
            return importlib.import_module(f"mnist_jax.{name}")
        if name in _PLACES:
            return getattr(importlib.import_module(_PLACES[name]), name)
        raise AttributeError(f"module 'mnist_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
