"""What the Keras contenders share: training with ``fit``, as Keras' own examples do."""

import math
import os
from collections.abc import Callable

from benchmarks import contenders as c


def build(
    work: c.Work, backend: str, describe: Callable[[], str], distributions: tuple[str, ...]
) -> c.Runner:
    """Builds the model on one of Keras' backends.

    Args:
        work: what to do.
        backend: ``jax``, ``tensorflow`` or ``torch``.
        describe: names the device.
        distributions: of the backend.
    """
    # Keras reads it once, when it is imported; this process is the contender's own.
    os.environ["KERAS_BACKEND"] = backend
    import keras

    from benchmarks.networks.in_keras import make_network

    keras.utils.set_random_seed(0)
    if work.dtype == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = make_network(work.network, work.image_shape)
    model.compile(
        keras.optimizers.Adam(c.LEARNING_RATE, epsilon=c.ADAM_EPSILON),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images, labels = work.images(), work.labels()
    last = None

    def run(num_steps: int) -> None:
        nonlocal last
        while num_steps:
            length = min(num_steps, work.steps_per_epoch)
            used = length * work.batch_size
            # The loss that fit returns is read from the device, so the device is done.
            last = model.fit(
                images[:used], labels[:used], batch_size=work.batch_size, shuffle=False, verbose=0
            ).history["loss"][-1]
            num_steps -= length

    return c.Runner(
        run=run,
        device=describe(),
        distributions=("keras", "numpy", *distributions),
        facts=lambda: {
            "num_params": sum(math.prod(weight.shape) for weight in model.trainable_weights),
            "last_loss": float(last),
        },
    )
