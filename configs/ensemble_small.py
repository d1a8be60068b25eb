"""Five members of the default recipe with the seeds 1 to 5, soft vote: an ensemble for a CPU.

    python -m mnist_jax.ensemble --config configs/ensemble_small.py

Measured: not yet
"""

from pathlib import Path

from ml_collections import ConfigDict

from mnist_jax.config_file import load_config_file


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = load_config_file(str(Path(__file__).with_name("default.py")))
    config.ensemble.seeds = "1:6"
    return config
