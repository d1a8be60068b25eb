"""Fifteen members for a budget of GPUs: An et al.'s three networks, five seeds of each, soft vote.

    python -m mnist_jax.ensemble --config configs/ensemble.py

The members are fixed here, before anything is measured: no subset is searched.

Measured: not yet
"""

from ml_collections import ConfigDict

from mnist_jax.config import default_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = default_config()
    config.num_epochs = 150
    config.batch_size = 128
    config.ensemble.models = "simple_m3,simple_m5,simple_m7"
    config.ensemble.seeds = "0:5"

    config.model.name = "simple_m3"
    config.model.dtype = "tfloat32"
    config.model.batch_norm_momentum = 0.9
    config.model.batch_norm_epsilon = 1e-5

    config.augment.rotation_degrees = 20.0
    config.augment.width_shift_fraction = 0.2
    config.augment.height_shift_fraction = 0.2
    config.augment.shear_degrees = 0.0
    config.augment.zoom_fraction = 0.0
    config.augment.fill_mode = "constant"

    config.optim.schedule = "cosine"
    config.optim.learning_rate = 1e-3
    config.optim.warmup_epochs = 1.0
    config.optim.ema_decay = 0.999
    return config
