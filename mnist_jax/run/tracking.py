"""What the trackers named in ``config.tracking`` are told of a training."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mnist_jax.config.check import flatten
from mnist_jax.metrics.predictions import most_confident_mistakes
from mnist_jax.models.forward import forward_fn
from mnist_jax.run.datasets import RunData
from mnist_jax.run.experiment import Experiment
from mnist_jax.runtime.distributed import is_primary
from mnist_jax.storage.metrics_log import MetricsWriter
from mnist_jax.storage.trackers import Trackers, open_tracker, picture_grid, read_names
from mnist_jax.terminal.console import RunConsole
from mnist_jax.training.logits import make_logits_fn
from mnist_jax.training.state import TrainState
from mnist_jax.training.step import preprocess

_NUM_PICTURES = 64


class Tracking:
    """Tells the trackers of a run, if there are any; of several processes only process 0 does."""

    def __init__(
        self, experiment: Experiment, data: RunData, folder: Path, console: RunConsole, writer: MetricsWriter
    ):
        """Opens the trackers.

        Args:
            experiment: of the run.
            data: of the run.
            folder: of the run.
            console: is told of a tracker that fails.
            writer: of the run; each of its lines is told on.
        """
        self._experiment, self._data = experiment, data
        self._trackers = Trackers(console.note)
        self._names = read_names(experiment.config.tracking) if is_primary() else []
        config = dict(flatten(experiment.config))
        for name in self._names:
            make = functools.partial(open_tracker, name, folder, config, writer.write_summary)
            self._trackers.open(name, make)
        writer.on_scalars = self._trackers.scalars

    def show_training_pictures(self, step: int) -> None:
        """Shows the first training images, as they are and as training sees them."""
        if not self._names:
            return
        images = self._data.train.images[:_NUM_PICTURES]
        self._trackers.picture(step, "train/pictures", picture_grid(images))
        if self._experiment.augment_fn is not None:
            key = jax.random.key(self._experiment.config.seed)
            changed = jax.jit(self._experiment.augment_fn)(key, preprocess(jax.numpy.asarray(images)))
            pixels = np.clip(np.asarray(changed) * 255, 0, 255).astype(np.uint8)
            self._trackers.picture(step, "train/augmented", picture_grid(pixels))

    def finish(self, summary: Mapping[str, Any], state: TrainState) -> None:
        """Shows the most confident mistakes on test, and ends the sessions with the summary's numbers."""
        if not self._names:
            return
        from scipy.special import softmax  # here, because a run without it starts sooner

        step, test = int(summary["final_step"]), self._data.test
        # Off the run's devices: of several processes only this one does it.
        variables = jax.device_put(jax.device_get(state.eval_variables()), jax.local_devices()[0])
        logits_fn = make_logits_fn(
            forward_fn(self._experiment.model), self._experiment.config.eval_batch_size
        )
        probabilities = softmax(np.asarray(logits_fn(variables, test.images)), axis=1)
        mistakes = most_confident_mistakes(probabilities, test.labels, _NUM_PICTURES)
        if len(mistakes):
            self._trackers.picture(step, "test/mistakes", picture_grid(test.images[mistakes]))
        self._trackers.close(step, summary)

    def stop(self, step: int, failed: bool = False) -> None:
        """Ends the sessions of a run that has not finished."""
        self._trackers.close(step, failed=failed)
