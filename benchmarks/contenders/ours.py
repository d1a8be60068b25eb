"""This project: many steps in one call, as ``mnist_jax.train`` does them."""

import jax
import numpy as np

from benchmarks.contenders import Runner, Work
from benchmarks.contenders.flax_shared import make_network
from benchmarks.flops import count_multiplied_flops, count_step_flops
from mnist_jax.config.check import check, default_config
from mnist_jax.models.registry import count_parameters
from mnist_jax.run.experiment import Experiment, build_experiment
from mnist_jax.runtime.compilation import CompiledFunction
from mnist_jax.runtime.devices import make_layout
from mnist_jax.runtime.environment import describe_device
from mnist_jax.training.compiled_steps import CompiledSteps

TITLE = "mnist_jax"
PACKAGES = ("jax", "flax", "mnist_jax")


def build_work_experiment(work: Work) -> Experiment:
    """The experiment of the default configuration, with the work's batch, dtype and no augmentation.

    The article's network is the default one; another is given as a person gives their own.
    """
    config = default_config()
    config.batch_size = work.batch_size
    config.model.dtype = work.dtype
    config.augment.enabled = False
    return build_experiment(
        check(config),
        make_layout(),
        image_shape=work.image_shape,
        class_names=tuple("0123456789"),
        num_train=work.num_examples,
        model=None if work.network == "article" else make_network(work),
    )


class Steps:
    """Compiled training steps with their state, run in calls that never cross the end of an epoch."""

    def __init__(self, experiment: Experiment, images: np.ndarray, labels: np.ndarray):
        """Puts the data on the device; nothing is compiled before the first call."""
        self.experiment = experiment
        images, labels, keys = jax.device_put((images, labels, experiment.keys), experiment.layout.replicated)
        self.function = CompiledFunction(experiment.jit_train_steps(), experiment.compiler_options)
        self.steps = CompiledSteps(self.function, images, labels, keys, experiment.static_length)
        self.state, self.log = experiment.create_state(), experiment.create_log()
        self.step = 0

    def run(self, num_steps: int) -> None:
        """Does steps and waits for the device."""
        epoch = self.experiment.steps_per_epoch
        while num_steps:
            length = min(num_steps, epoch - self.step % epoch)
            self.state, self.log, _ = self.steps.run(self.state, self.log, length)
            self.step += length
            num_steps -= length

    def program(self, num_steps: int):
        """The compiled program of a call of that many steps."""
        return self.steps.program(self.state, self.log, num_steps)


def build(work: Work) -> Runner:
    """Compiles the steps; on an accelerator a call is a whole epoch, for its length is compiled in."""
    experiment = build_work_experiment(work)
    steps = Steps(experiment, work.images(), work.labels())

    def facts() -> dict:
        statistics = jax.local_devices()[0].memory_stats() or {}
        return {
            "num_params": count_parameters(steps.state.params),
            "last_loss": float(np.asarray(steps.log.loss_sum)[(steps.step - 1) % work.steps_per_epoch])
            / work.batch_size,
            "compile_seconds": steps.function.compile_seconds,
            "flops_per_step": count_step_flops(experiment.model, work.image_shape, work.batch_size),
            "multiplied_flops_per_step": count_multiplied_flops(
                experiment.model, work.image_shape, work.batch_size
            ),
            "peak_device_memory_bytes": statistics.get("peak_bytes_in_use"),
        }

    return Runner(
        run=steps.run,
        device=str(describe_device()["device"]),
        distributions=("mnist-jax", "jax", "jaxlib", "flax", "numpy"),
        facts=facts,
        unit_steps=work.steps_per_epoch if experiment.static_length else 1,
    )
