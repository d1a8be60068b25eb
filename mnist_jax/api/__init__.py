"""What ``import mnist_jax`` offers to a program: training, and using what was trained."""

from mnist_jax.api.studying import study
from mnist_jax.api.trained import TrainedRun
from mnist_jax.api.training import train
from mnist_jax.api.using import evaluate, predict

__all__ = ["TrainedRun", "evaluate", "predict", "study", "train"]
