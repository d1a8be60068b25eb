"""What a configuration and a data set decide together."""

import jax
import numpy as np
import pytest

from mnist_jax.config.check import check, default_config
from mnist_jax.errors import ConfigError
from mnist_jax.run import experiment as experiment_module
from mnist_jax.run.experiment import build_experiment
from mnist_jax.runtime.devices import make_layout
from tests.trees import assert_same_bits, same_bits

FACTS = {"image_shape": [10, 9, 1], "class_names": ["bar", "dot", "ring"], "num_train": 83}


def make_config(**changes):
    config = default_config()
    config.num_epochs, config.batch_size = 3, 8
    config.model.features, config.model.pool_after, config.model.dense_features = (3, 4), (0,), 8
    config.augment.enabled = False
    for name, value in changes.items():
        group, _, field = name.rpartition("__")
        setattr(config[group] if group else config, field, value)
    return check(config)


def build(facts=FACTS, **changes):
    return build_experiment(make_config(**changes), make_layout(), **facts)


@pytest.fixture(scope="module")
def experiment():
    return build(optim__ema_fraction=0.2)


def test_steps_and_sizes_follow_the_data(experiment):
    assert (experiment.steps_per_epoch, experiment.total_steps) == (10, 30)
    assert (experiment.num_classes, experiment.num_train) == (3, 83)
    assert experiment.image_shape == (10, 9, 1) and experiment.class_names == ("bar", "dot", "ring")
    assert experiment.model.num_classes == 3


@pytest.mark.parametrize(
    ("fraction", "first_step", "expected"), [(0.0, 0, None), (0.1, 0, 27), (0.1, 10, 28), (0.01, 0, 30)]
)
def test_the_last_share_of_the_steps_is_plain(fraction, first_step, expected, monkeypatch):
    taken = {}
    monkeypatch.setattr(experiment_module, "jit_train_steps", lambda **options: taken.update(options))
    facts = {**FACTS, "first_step": first_step}
    build(facts, augment__enabled=True, augment__plain_fraction=fraction).jit_train_steps()
    assert taken["train_step"].keywords["plain_from"] == expected


def test_the_first_state_is_on_every_device_and_as_a_checkpoint_expects_it(experiment):
    state, log = experiment.create_state(), experiment.create_log()
    assert state.ema is not None
    abstract = experiment.abstract_checkpoint()
    leaves, expected = jax.tree.leaves({"state": state, "log": log}), jax.tree.leaves(abstract)
    assert len(leaves) == len(expected) > 20
    for leaf, target in zip(leaves, expected, strict=True):
        assert (leaf.shape, leaf.dtype) == (target.shape, target.dtype)
        assert leaf.sharding == target.sharding and len(leaf.devices()) == 8
    assert log.loss_sum.shape == (10,)


def test_the_seed_decides_the_first_state(experiment):
    first = experiment.create_state()
    again, other = build(optim__ema_fraction=0.2), build(optim__ema_fraction=0.2, seed=1)
    assert_same_bits(first.params, again.create_state().params)
    assert not same_bits(first.params, other.create_state().params)


def test_without_a_decay_there_is_no_average():
    assert build().abstract_checkpoint()["state"].ema is None


@pytest.mark.parametrize(
    ("changes", "step", "rate"),
    [
        ({}, 29, 0.02),
        ({"optim__schedule": "cosine"}, 15, 0.01),
        ({"optim__schedule": "cosine", "optim__end_learning_rate_fraction": 0.25}, 30, 0.005),
        ({"optim__warmup_fraction": 1 / 3}, 5, 0.01),
        ({"optim__schedule": "one_cycle", "optim__warmup_fraction": 0.5}, 15, 0.02),
        ({"optim__schedule": "one_cycle"}, 0, 0.0008),
    ],
)
def test_the_schedule_spans_the_run(changes, step, rate):
    experiment = build(optim__learning_rate=0.02, **changes)
    assert float(experiment.learning_rate_fn(step)) == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize("batch_size", [4, 12])
def test_a_batch_has_to_divide_over_the_devices(batch_size):
    with pytest.raises(ConfigError, match=f"^batch_size: {batch_size} does not divide over 8 devices"):
        build(batch_size=batch_size)


def test_a_warm_up_that_rounds_to_the_whole_run_leaves_a_step():
    rates = [float(build(optim__warmup_fraction=0.999).learning_rate_fn(step)) for step in (0, 28, 29)]
    assert rates == sorted(rates) and rates[0] < rates[2] == pytest.approx(1e-3)


def test_a_network_that_does_not_fit_the_images_is_a_fault_of_the_configuration():
    with pytest.raises(ConfigError, match="^model: images of 10x9 are too small: before conv1"):
        build(model__features=(3, 4), model__kernel_size=7)


def test_many_steps_train_on_every_device(experiment, tiny_data):
    placed = jax.device_put((*tiny_data, experiment.keys), experiment.layout.replicated)
    state, log = experiment.jit_train_steps()(
        experiment.create_state(), experiment.create_log(), *placed, np.int32(4)
    )
    assert int(state.step) == 4 and len(state.step.devices()) == 8
    assert (np.asarray(log.loss_sum) > 0).tolist() == [True] * 4 + [False] * 6


def test_patterns_that_match_nothing_and_nothing_left_to_train_are_refused():
    with pytest.raises(ConfigError) as caught:
        build(init__run="a run", init__freeze="conv0,cnv1", optim__rate_scales="conv*=0.1,body=2")
    assert [problem.split(";")[0] for problem in caught.value.problems] == [
        "init.freeze: 'cnv1' matches nothing in this network",
        "optim.rate_scales: 'body' matches nothing in this network",
    ]
    assert "conv0, conv1, dense, head" in caught.value.problems[0]
    with pytest.raises(ConfigError, match="init.freeze: '[*]' leaves nothing to train"):
        build(init__run="a run", init__freeze="*")


def test_frozen_layers_take_no_room_in_the_optimizer():
    sizes = [
        sum(leaf.size for leaf in jax.tree.leaves(experiment.abstract_checkpoint()["state"].opt_state))
        for experiment in (build(), build(init__run="a run", init__freeze="conv*,dense"))
    ]
    assert sizes[1] == 2 * (8 * 3 + 3) + 2 < sizes[0]
