"""Configurations: defaults, completion, every check, and the round trip through JSON."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict, config_dict

from mnist_jax.config.check import (
    as_dict,
    check,
    check_against_data,
    default_config,
    from_dict,
    suggest_field,
    unknown_field,
    validate,
)
from mnist_jax.config.schema import FIELDS, FIELDS_BY_NAME, GROUPS
from mnist_jax.errors import ConfigError

NAMES = sorted(FIELDS_BY_NAME)


def changed(**values):
    """The default configuration with some fields changed; ``__`` stands for the dot."""
    config = default_config()
    for name, value in values.items():
        group, _, last = name.rpartition("__")
        (config[group] if group else config)[last] = value
    return config


def test_every_field_has_a_unique_name_a_known_group_a_valid_default_and_one_line():
    assert len(FIELDS_BY_NAME) == len(FIELDS)
    for field in FIELDS:
        assert field.name.rpartition(".")[0] in GROUPS
        assert field.convert(field.default) == field.default
        assert field.description and "\n" not in field.description


def test_the_default_configuration_is_in_order_and_has_the_articles_network():
    config = default_config()
    assert validate(config) == []
    assert (config.batch_size, config.num_epochs) == (64, 5)
    assert config.model.features == (32, 32, 64, 64)
    assert config.optim.learning_rate == 1e-3


def test_check_completes_converts_and_locks():
    config = check(ConfigDict({"optim": {"learning_rate": 1}, "model": {"features": [8, 8, 16, 16]}}))
    assert type(config.optim.learning_rate) is float
    assert config.model.features == (8, 8, 16, 16)
    assert config.batch_size == 64
    with pytest.raises(AttributeError):
        config.optim.learning_rat = 1
    with pytest.raises(TypeError):
        config.batch_size = "64"


def test_check_raises_with_all_problems():
    wrong = {"batch_size": -5, "optim": {"learning_rate": math.nan, "learning_rat": 1}, "num_epoch": 3}
    with pytest.raises(ConfigError) as caught:
        check(wrong)
    assert caught.value.exit_code == 2
    assert caught.value.problems == (
        "batch_size: expected a whole number of at least 0, got -5",
        "optim.learning_rate: expected a finite number above 0, got nan",
        "optim.learning_rat: there is no such field; did you mean 'optim.learning_rate'?",
        "num_epoch: there is no such field; did you mean 'num_epochs'?",
    )


def test_a_configuration_survives_json():
    config = check(changed(model__features=(4, 4), model__pool_after=(1,), optim__warmup_fraction=0.5))
    restored = from_dict(json.loads(json.dumps(as_dict(config), allow_nan=False)))
    assert restored == config
    assert restored.model.features == (4, 4)


def test_an_older_configuration_gets_the_defaults_of_newer_fields_and_unknown_names_are_refused():
    old = as_dict(check(default_config()))
    del old["report"], old["checkpoint"]
    assert from_dict(old) == check(default_config())
    with pytest.raises(ConfigError, match="momentum"):
        from_dict({**old, "momentum": 0.9})


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({"optim__warmup_fraction": 1.0}, "optim.warmup_fraction: "),
        (
            {"model__pool_after": (1, 4)},
            "model.pool_after: expected convolutions from 0 to 3 (model.features), got 4",
        ),
        (
            {"pseudo_label__views": 2, "augment__enabled": False},
            "pseudo_label.views: 2 augmented copies of each image need augment.enabled",
        ),
        ({"model__pool_after": (1, 1)}, "model.pool_after: expected each convolution once"),
        ({"checkpoint__every_epochs": 0}, "checkpoint.enabled: no checkpoint would be written"),
        ({"distributed__process_id": 0}, "distributed.process_id: process 0 of how many?"),
        (
            {"distributed__process_id": 2, "distributed__num_processes": 2},
            "distributed.process_id: expected 0 to 1",
        ),
        ({"distributed__coordinator_address": "host"}, "distributed.coordinator_address: expected HOST:PORT"),
        (
            {"data__train_examples": 100, "data__validation_examples": 100},
            "data.validation_examples: 100 held out",
        ),
        ({"data__train_examples": 50}, "batch_size: 64 is more than the 50 images"),
        (
            {"init__freeze": "conv*"},
            "init.freeze: nothing is trained that could stay as it is",
        ),
        ({"init__run": "x", "init__freeze": "conv*, dense"}, "init.freeze: expected patterns with commas"),
        ({"optim__rate_scales": "conv*"}, "optim.rate_scales: expected patterns with factors"),
        ({"optim__rate_scales": "conv*=0.5,head=0"}, "optim.rate_scales: expected finite factors above 0"),
        (
            {"optim__rate_scales": "head=2", "optim__name": "schedule_free_adamw"},
            "optim.rate_scales: optim.name=schedule_free_adamw moves all parameters at one rate",
        ),
        ({"optim__rate_scales": "head=1e99"}, "optim.rate_scales: expected finite factors above 0"),
        ({"optim__ema_fraction": 1.1}, "optim.ema_fraction: "),
        ({"optim__end_learning_rate_fraction": 1.1}, "optim.end_learning_rate_fraction: "),
        ({"optim__b1": 1}, "optim.b1: "),
        ({"optim__epsilon": 0}, "optim.epsilon: "),
        ({"augment__fill_value": math.inf}, "augment.fill_value: "),
        ({"augment__zoom_fraction": 1}, "augment.zoom_fraction: "),
        ({"augment__width_shift_fraction": -0.1}, "augment.width_shift_fraction: "),
        ({"augment__cutout_fraction": 1.5}, "augment.cutout_fraction: "),
        ({"augment__disturbed_share": 1.5}, "augment.disturbed_share: "),
        ({"augment__elastic_alpha": -1}, "augment.elastic_alpha: "),
        ({"augment__elastic_sigma": 0}, "augment.elastic_sigma: "),
        ({"augment__thickness_pixels": 5}, "augment.thickness_pixels: "),
        ({"augment__contrast_fraction": 1}, "augment.contrast_fraction: "),
        ({"augment__noise_stddev": math.nan}, "augment.noise_stddev: "),
        ({"augment__mixup_alpha": -0.2}, "augment.mixup_alpha: "),
        ({"augment__cutmix_alpha": "a"}, "augment.cutmix_alpha: "),
        ({"num_epochs": -1}, "num_epochs: "),
        ({"num_epochs": 2.5}, "num_epochs: "),
        ({"batch_size": True}, "batch_size: "),
        ({"log_every_steps": 0}, "log_every_steps: "),
        ({"seed": 2**32}, "seed: "),
        ({"data__name": ""}, "data.name: "),
        ({"data": 3}, "data: expected a group of fields (the data set), got 3"),
        ({"seed": config_dict.required_placeholder(int)}, "seed: expected a whole number"),
    ],
)
def test_one_slip_is_one_problem(values, start):
    problems = validate(changed(**values))
    assert len(problems) == 1
    assert problems[0].startswith(start)


def test_limits_themselves_are_allowed():
    edges = changed(
        seed=2**32 - 1,
        optim__ema_fraction=0,
        optim__end_learning_rate_fraction=1,
        optim__warmup_fraction=0.9,
        augment__rotation_degrees=180,
        checkpoint__enabled=False,
        checkpoint__every_epochs=0,
        distributed__process_id=1,
        distributed__num_processes=2,
        distributed__coordinator_address="10.0.0.1:1234",
        model__pool_after=(),
    )
    assert validate(edges) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("optim.learning_rat", "optim.learning_rate"),
        ("learning_rate", "optim.learning_rate"),
        ("optimizer.learning_rate", "optim.learning_rate"),
        ("optimizer", "optim"),
        ("epochs", "num_epochs"),
        ("data_dir", "data.dir"),
        ("augment.rotation", "augment.rotation_degrees"),
        ("checkpoint.enable", "checkpoint.enabled"),
        ("optim.seed", "seed"),
        ("optim.learning_rate.x", "optim.learning_rate"),
        ("zzz", ""),
    ],
)
def test_the_name_that_was_meant_is_suggested(name, meant):
    assert suggest_field(name) == meant


def test_without_a_suggestion_the_fields_of_the_group_are_listed():
    assert "optim has name, learning_rate, b1" in unknown_field("optim.zzz")


@pytest.mark.parametrize(
    ("values", "num_train", "start"),
    [
        ({}, 60000, None),
        ({}, 64, None),
        ({"eval_batch_size": 10**6}, 64, None),
        ({}, 63, "batch_size: 64 is more than the 63 training images"),
        ({"data__train_examples": 65}, 63, "batch_size: 64 is more than the 63 training images"),
        ({"data__validation_examples": 64}, 64, "data.validation_examples: 64 held out of 64"),
        ({"data__validation_examples": 1}, 64, "batch_size: 64 is more than the 63"),
        ({"num_epochs": 2**31 - 1}, 128, "num_epochs: 2147483647 epochs are"),
    ],
)
def test_what_the_data_cannot_give_is_refused(values, num_train, start):
    config = check(changed(**values))
    if start is None:
        check_against_data(config, num_train)
    else:
        with pytest.raises(ConfigError) as refused:
            check_against_data(config, num_train)
        assert len(refused.value.problems) == 1 and refused.value.problems[0].startswith(start)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(name=st.sampled_from(NAMES), value=ANYTHING)
def test_any_value_of_any_field_is_accepted_or_named_in_one_line(name, value):
    problems = validate({name: value})
    if problems:
        assert all(len(problem.splitlines()) == 1 for problem in problems)
        assert any(name in problem for problem in problems)
    else:
        config = check({name: value})
        assert from_dict(json.loads(json.dumps(as_dict(config), allow_nan=False))) == config


@given(mapping=st.dictionaries(st.text() | st.integers() | st.sampled_from(sorted(GROUPS)), ANYTHING))
def test_any_mapping_is_a_configuration_or_refused_in_lines(mapping):
    for problem in validate(mapping):
        assert len(problem.splitlines()) == 1


def test_a_relative_data_folder_is_recorded_so_that_it_is_found_from_elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder, recorded in (
        ("pictures", tmp_path / "pictures"),
        ("../x", tmp_path.parent / "x"),
        ("~/x", tmp_path / "home" / "x"),
    ):
        config = check({"data": {"dir": folder}, "init": {"run": folder}})
        assert config.data.dir == config.init.run == str(recorded)
    assert check({}).data.dir == ""
