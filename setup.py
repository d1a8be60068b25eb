"""What pyproject.toml cannot say together with finding packages: configs/ becomes mnist_jax/configs."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mnist_jax", "mnist_jax.*"]), "mnist_jax.configs"],
    package_dir={"mnist_jax.configs": "configs"},
)
