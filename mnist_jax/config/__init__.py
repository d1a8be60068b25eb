"""Configurations: fields, checks, files."""

from mnist_jax.config.check import default_config
from mnist_jax.config.file import load_config_file

__all__ = ["default_config", "load_config_file"]
