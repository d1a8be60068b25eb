"""Fifteen members for a budget of GPUs: An et al.'s three networks, five seeds of each, soft vote.

    python -m mnist_jax.ensemble --config configs/ensemble.py

The members are fixed here, before anything is measured: no subset is searched.

Measured: not yet
"""

from pathlib import Path

from ml_collections import ConfigDict

from mnist_jax.config import load_config_file


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = load_config_file(str(Path(__file__).with_name("best_single.py")))
    config.ensemble.models = "simple_m3,simple_m5,simple_m7"
    config.ensemble.seeds = "0:5"
    return config
