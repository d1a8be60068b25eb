"""The best single network for a budget of a GPU: An et al.'s M3, 150 epochs, the rate down to zero.

    python -m mnist_jax.train --config configs/best_single.py

Two things differ from An et al. (arXiv 2008.10400): the moving average covers BatchNorm's statistics too, and
the learning rate reaches zero. About 1 GFLOP an image and step: for a GPU, days on a CPU.

Measured: not yet
"""

from ml_collections import ConfigDict

from mnist_jax.config import default_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = default_config()
    config.num_epochs = 150
    config.batch_size = 128

    config.model.name = "simple_m3"
    config.model.dtype = "tfloat32"
    config.model.batch_norm_momentum = 0.9
    config.model.batch_norm_epsilon = 1e-5

    config.augment.rotation_degrees = 20.0
    config.augment.width_shift_fraction = 0.2
    config.augment.height_shift_fraction = 0.2
    config.augment.shear_degrees = 0.0
    config.augment.zoom_fraction = 0.0
    # Beyond the border their images are black.
    config.augment.fill_mode = "constant"

    config.optim.schedule = "cosine"
    config.optim.learning_rate = 1e-3
    config.optim.warmup_fraction = 1 / 150
    config.optim.ema_fraction = 0.015
    return config
