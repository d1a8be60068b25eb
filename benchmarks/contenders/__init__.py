"""What can be measured: one file for each contender, all doing the same work.

A contender's module has ``TITLE`` (a few words), ``PACKAGES`` (modules that must be importable) and
``build(work) -> Runner``. It is imported by ``benchmarks.worker`` only, in a process of its own, and may need
nothing but the standard library, NumPy and its ``PACKAGES``: it may run in another interpreter than the
command's.

The work: one of ``benchmarks.networks`` (the article's: 596,330 parameters), batches of uint8 pixels taken
from arrays in memory (or on the device), rescaled to [0, 1] in the step; BatchNorm with running statistics,
softmax cross-entropy, all gradients, one Adam update. No augmentation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.networks import NUM_CLASSES

COMPARED = (
    "ours",
    "stock_flax",
    "keras_jax",
    "keras_tf",
    "keras_torch",
    "torch_eager",
    "torch_channels_last",
    "torch_compile",
    "torch_compile_channels_last",
    "torch_cuda_graphs",
)
DTYPES = ("float32", "tfloat32", "bfloat16")

LEARNING_RATE = 1e-3
ADAM_EPSILON = 1e-7


class Unavailable(Exception):
    """A contender that cannot run here although its packages are installed; says what is missing."""


@dataclass(frozen=True)
class Work:
    """What every contender does.

    Attributes:
        batch_size: images a step.
        dtype: one of ``DTYPES``: how products are computed; parameters are always float32.
        num_examples: images in the arrays that batches are taken from.
        network: one of ``benchmarks.networks``.
        image_shape: ``(height, width, channels)``.
    """

    batch_size: int = 64
    dtype: str = "float32"
    num_examples: int = 60_000
    network: str = "article"
    image_shape: tuple[int, ...] = (28, 28, 1)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the arrays."""
        return self.num_examples // self.batch_size

    def images(self) -> np.ndarray:
        """Random pixels, uint8 ``[N, *image_shape]``: time does not depend on what is in them."""
        return np.random.default_rng(0).integers(0, 256, (self.num_examples, *self.image_shape), np.uint8)

    def labels(self) -> np.ndarray:
        """Random classes, int32 ``[N]``."""
        return np.random.default_rng(1).integers(0, NUM_CLASSES, self.num_examples, np.int32)


@dataclass(frozen=True)
class Runner:
    """A contender that is ready to be measured.

    Attributes:
        run: does that many units of work and returns when the device is done.
        device: where, in one line.
        distributions: names of the installed distributions whose versions matter.
        unit_steps: ``run`` takes multiples of this.
        facts: what else is worth keeping, JSON values by name; called when all is measured.
    """

    run: Callable[[int], None]
    device: str
    distributions: tuple[str, ...]
    facts: Callable[[], dict]
    unit_steps: int = 1
