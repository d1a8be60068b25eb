"""The longer speedrun: the fewest seconds on a CPU to a mean of 99.5% on MNIST's test set.

    python -m benchmarks.time_to_accuracy --config configs/fast_995.py --seeds 0:5 --target 0.995
    python -m mnist_jax.train --config configs/fast_995.py

Chosen on a validation split: with the last 10,000 training images held out
(--config.data.validation_examples=10000 --config.data.validation=last --config.num_epochs=7) 99.59% and
99.64% with seeds 10 and 11 after 5,467 steps. The test set had no part in it.

Measured: 99.55% ± 0.04 (mean and SD of seeds 0 to 4), 46 s of training on 2 shared cores of an AMD EPYC, jax
0.10.2.
Measured at commit 51bbd12-dirty; not again since.
"""

from ml_collections import ConfigDict

from mnist_jax.config import default_config


def get_config() -> ConfigDict:
    """Returns the configuration."""
    config = default_config()
    config.num_epochs = 6
    config.batch_size = 64

    # Pooling early keeps the large images few; see configs/fast.py.
    config.model.features = (16, 48, 96)
    config.model.pool_after = (0, 1)
    config.model.dense_features = 128
    config.model.dropout_rate = 0.0
    config.model.batch_norm_momentum = 0.9

    config.augment.rotation_degrees = 12.0
    config.augment.width_shift_fraction = 0.1
    config.augment.height_shift_fraction = 0.1
    config.augment.shear_degrees = 8.0
    config.augment.zoom_fraction = 0.1

    config.optim.schedule = "one_cycle"
    config.optim.learning_rate = 8e-3
    config.optim.label_smoothing = 0.1
    config.optim.ema_fraction = 0.036
    return config
