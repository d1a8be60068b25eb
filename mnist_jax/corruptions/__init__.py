"""The fifteen corruptions of MNIST-C, computed on the device.

Source: Mu and Gilmer, MNIST-C: A Robustness Benchmark for Computer Vision, 2019 (arXiv:1906.02337), with the
severities of the published data set.
"""

from mnist_jax.corruptions.corrupt import CORRUPTIONS, corrupt

__all__ = ["CORRUPTIONS", "corrupt"]
