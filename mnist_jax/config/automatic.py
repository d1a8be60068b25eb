"""Epochs and batch size that suit the number of training images, where a configuration leaves them open.

MNIST's 60,000 images get the article's 5 epochs of batches of 64. Fewer images are passed over more often,
for a network needs a number of steps whatever the number of images; many images less often.
"""

import copy

from ml_collections import ConfigDict

_EPOCHS, _BATCH_SIZE = 5, 64
_FEWEST_STEPS, _MOST_STEPS = 2_000, 20_000
_MOST_EPOCHS = 100
# Few images are taken in smaller batches, for as many updates an epoch, but not so small that a batch's
# statistics are noise.
_BATCHES_AN_EPOCH = 125
_SMALLEST_BATCH = 8
# Saving takes as long as many an epoch over few images.
_MOST_CHECKPOINTS = 10


def resolve(config: ConfigDict, num_train: int, num_devices: int = 1) -> tuple[ConfigDict, list[str]]:
    """Replaces ``num_epochs`` and ``batch_size`` of 0 by numbers that suit the images that are trained on.

    Returns:
        a configuration without zeros there, and a line on what was chosen, if anything was.
    """
    if config.num_epochs and config.batch_size:
        return config, []
    config = copy.deepcopy(config)
    chosen = []
    if not config.batch_size:
        size = min(_BATCH_SIZE, max(_SMALLEST_BATCH, num_train // _BATCHES_AN_EPOCH), num_train)
        config.batch_size = max(size // num_devices, 1) * num_devices
        chosen.append(f"batches of {config.batch_size}")
    if not config.num_epochs:
        steps_per_epoch = max(num_train // config.batch_size, 1)
        wanted = min(max(_EPOCHS * steps_per_epoch, _FEWEST_STEPS), _MOST_STEPS)
        config.num_epochs = max(min(round(wanted / steps_per_epoch), _MOST_EPOCHS), 1)
        checkpoint = config.checkpoint
        if config.num_epochs > _MOST_CHECKPOINTS and checkpoint.every_epochs == 1:
            checkpoint.every_epochs = -(-config.num_epochs // _MOST_CHECKPOINTS)
        chosen.append(f"{config.num_epochs} epochs")
    return config, [f"chosen for {num_train:,} training images: {' and '.join(reversed(chosen))}"]
