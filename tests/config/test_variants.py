"""How the differences between an ensemble's members are written."""

import re

import pytest

from mnist_jax.config.check import check, default_config, validate, with_variant
from mnist_jax.config.variants import VARIANTS_PATTERN, parse_settings, parse_variants


def test_variants_are_apart_by_semicolons_and_their_settings_by_spaces():
    assert parse_variants("") == ("",)
    assert parse_variants("; optim.b1=0.8  augment.fill_mode=constant ;") == (
        "",
        "optim.b1=0.8 augment.fill_mode=constant",
        "",
    )


def test_settings_are_texts_by_field():
    text = "augment.enabled=False model.features=(8,16) optim.rate_scales=head=2"
    assert parse_settings(text) == {
        "augment.enabled": "False",
        "model.features": "(8,16)",
        "optim.rate_scales": "head=2",
    }


@pytest.mark.parametrize("text", ["", ";", " ; ", "optim.b1=0.8", "optim.b1=1 optim.b2=1;model.kwargs={}"])
def test_what_is_written_so_is_read(text):
    assert re.fullmatch(VARIANTS_PATTERN, text)


@pytest.mark.parametrize(
    "text", ["x", "optim.b1", "optim.b1=", "data.name=mnist", "seed=1", "optim.b1=1,;optim"]
)
def test_what_is_not_is_refused(text):
    assert not re.fullmatch(VARIANTS_PATTERN, text)


@pytest.mark.parametrize("spelled", ["augment.enabled=false", "augment.enabled=False", "augment.enabled=0"])
def test_a_value_is_spelled_as_on_the_command_line(spelled):
    assert with_variant(check(default_config()), spelled).augment.enabled is False


@pytest.mark.parametrize("value", ["(" * 10_000, "1+", "{[]:1}", "-" * 10_000 + "1"])
def test_what_is_no_value_of_the_field_is_refused_in_one_line(value):
    config = default_config()
    config.ensemble.variants = f"model.kwargs={value}"
    (problem,) = validate(config)
    assert problem.startswith("ensemble.variants: variant 1: model.kwargs: expected names with values")
    assert "\n" not in problem
