"""The networks: the same in every framework, and what a network or a picture cannot be is refused."""

import math
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest

from benchmarks import compare
from benchmarks.contenders import Work
from benchmarks.contenders.ours import build_work_experiment
from benchmarks.networks import NETWORKS
from benchmarks.networks.in_flax import make_network
from mnist_jax import cli

# Counted by hand from the layers' shapes: of 28x28x1 and of 32x32x3 pictures.
PARAMETERS = {
    "article": (596_330, 891_818),
    "resnet": (77_754, 78_042),
    "m3": (1_124_180, 1_265_556),
    "separable": (136_202, 136_778),
}
SHAPES = ((28, 28, 1), (32, 32, 3))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flax_has_the_parameters_and_gives_logits(name, shape):
    network, images = make_network(name), jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    logits, variables = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x), images)
    params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    assert params == PARAMETERS[name][SHAPES.index(shape)]
    assert (logits.shape, logits.dtype) == ((2, 10), jnp.float32)


@pytest.mark.skipif(find_spec("torch") is None, reason="not installed: torch")
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_torch_has_the_same(name, shape):
    import torch

    from benchmarks.networks import in_torch

    network = in_torch.make_network(name, shape)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name][SHAPES.index(shape)]
    assert network(torch.zeros(2, shape[2], *shape[:2])).shape == (2, 10)


@pytest.mark.skipif(find_spec("keras") is None, reason="not installed: keras")
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_keras_has_the_same(name, shape):
    from benchmarks.networks import in_keras

    network = in_keras.make_network(name, shape)
    params = sum(math.prod(weight.shape) for weight in network.trainable_weights)
    assert params == PARAMETERS[name][SHAPES.index(shape)]
    assert network.output_shape == (None, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_this_project_trains_what_the_others_train(name):
    work = Work(batch_size=8, num_examples=16, network=name)
    state = build_work_experiment(work).abstract_checkpoint()["state"]
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params)) == PARAMETERS[name][0]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_smallest_pictures_are_large_enough(name):
    network, side = make_network(name), NETWORKS[name]
    images = jax.ShapeDtypeStruct((2, side, side, 1), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    assert all(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--network=vgg"], "article"),
        (["--image_shape=28,28"], "as 28,28,1"),
        (["--image_shape=32,32,4"], "1 or 3 channels"),
        (["--network=m3", "--image_shape=20,28,1"], "at least 21 pixels for m3"),
    ],
)
def test_what_is_not_known_or_does_not_fit_is_refused(words, expected, capsys):
    assert cli.run_main(compare.main, compare.COMMAND, words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and expected in said and said.count("\n") == 1
