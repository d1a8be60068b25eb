"""A network that is compiled in a second, and one run of it that many tests look at."""

import flax.linen as nn
import pytest


class Perceptron(nn.Module):
    num_classes: int
    width: int = 8

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.relu(nn.Dense(self.width)(images.reshape(images.shape[0], -1)))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        return nn.Dense(self.num_classes)(x)


TINY = {"num_epochs": 3, "batch_size": 8, "augment.enabled": False, "progress": False}


@pytest.fixture(scope="session")
def arrays(tiny_data):
    """Images, labels, and a test set of the last of them."""
    images, labels = tiny_data
    return images[:64], labels[:64], (images[64:], labels[64:])


@pytest.fixture(scope="module")
def tiny_run(arrays):
    import mnist_jax

    images, labels, test = arrays
    return mnist_jax.train(images, labels, test=test, model=Perceptron, **TINY)
