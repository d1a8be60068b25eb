"""The default recipe on Fashion-MNIST: clothes stand upright, so they are only shifted and zoomed a little.

    python -m mnist_jax.train --config configs/fashion_mnist.py

Measured: not yet
"""

from pathlib import Path

from ml_collections import ConfigDict

from mnist_jax.config import load_config_file


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = load_config_file(str(Path(__file__).with_name("default.py")))
    config.data.name = "fashion_mnist"
    # The embedded digits stand in for MNIST only.
    config.data.fallback = ""

    config.augment.rotation_degrees = 0.0
    config.augment.shear_degrees = 0.0
    config.augment.width_shift_fraction = 0.05
    config.augment.height_shift_fraction = 0.05
    config.augment.zoom_fraction = 0.05
    return config
