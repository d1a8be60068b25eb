"""A small-image training pipeline in JAX and Flax, on CPU, GPU or TPU with the same code."""

__version__ = "0.1.0"
