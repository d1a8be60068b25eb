"""Five members of the default recipe with the seeds 0 to 4, soft vote: an ensemble for a CPU.

    python -m mnist_jax.ensemble --config configs/ensemble_small.py

Measured: not yet
"""

from ml_collections import ConfigDict

from mnist_jax.config import default_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = default_config()
    config.ensemble.seeds = "0:5"
    config.num_epochs = 5
    config.batch_size = 64

    config.augment.rotation_degrees = 10.0
    config.augment.width_shift_fraction = 0.1
    config.augment.height_shift_fraction = 0.1
    config.augment.shear_degrees = 10.0
    config.augment.zoom_fraction = 0.1

    config.optim.schedule = "one_cycle"
    config.optim.learning_rate = 4e-3
    config.optim.warmup_epochs = 1.5
    config.optim.label_smoothing = 0.1
    # An average over about the last 200 steps, of the BatchNorm statistics too.
    config.optim.ema_decay = 0.995
    return config
