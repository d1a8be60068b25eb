"""Data sets as checked arrays, from five sources behind one function."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_jax.data.dataset import Dataset, Splits
    from mnist_jax.data.load import load_splits

__all__ = ["Dataset", "Splits", "load_splits"]

_PLACES = {"Dataset": "dataset", "Splits": "dataset", "load_splits": "load"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Imports the sources only when one is used: who prepares pictures does not wait for them."""
        if name in _PLACES:
            return getattr(importlib.import_module(f"mnist_jax.data.{_PLACES[name]}"), name)
        raise AttributeError(f"module 'mnist_jax.data' has no attribute {name!r}")
