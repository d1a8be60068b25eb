"""Five members of the default recipe with the seeds 1 to 5, soft vote: an ensemble for a CPU.

    python -m mnist_jax.ensemble --config configs/ensemble_small.py

Measured: 99.67% (33 errors), its members 99.64% on average; 20 minutes of training on 2 shared cores of an
AMD EPYC, jax 0.10.2.
"""

from pathlib import Path

from ml_collections import ConfigDict

from mnist_jax.config_file import load_config_file


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = load_config_file(str(Path(__file__).with_name("default.py")))
    config.ensemble.seeds = "1:6"
    return config
