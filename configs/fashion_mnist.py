"""The default recipe on Fashion-MNIST: clothes stand upright, so they are only shifted and zoomed a little.

    python -m mnist_jax.train --config configs/fashion_mnist.py

Measured: not yet
"""

from ml_collections import ConfigDict

from mnist_jax.config import default_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = default_config()
    config.num_epochs = 5
    config.batch_size = 64
    config.data.name = "fashion_mnist"
    # The embedded digits stand in for MNIST only.
    config.data.fallback = ""

    config.augment.rotation_degrees = 0.0
    config.augment.shear_degrees = 0.0
    config.augment.width_shift_fraction = 0.05
    config.augment.height_shift_fraction = 0.05
    config.augment.zoom_fraction = 0.05

    config.optim.schedule = "one_cycle"
    config.optim.learning_rate = 4e-3
    config.optim.warmup_epochs = 1.5
    config.optim.label_smoothing = 0.1
    config.optim.ema_decay = 0.995
    return config
