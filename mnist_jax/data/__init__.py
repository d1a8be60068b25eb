"""Data sets as checked arrays, from five sources behind one function."""

from mnist_jax.data.dataset import Dataset, Splits
from mnist_jax.data.load import load_splits

__all__ = ["Dataset", "Splits", "load_splits"]
