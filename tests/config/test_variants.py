"""How the differences between an ensemble's members are written."""

import re

import pytest

from mnist_jax.config.variants import VARIANTS_PATTERN, parse_settings, parse_variants


def test_variants_are_apart_by_semicolons_and_their_settings_by_spaces():
    assert parse_variants("") == ("",)
    assert parse_variants("; optim.b1=0.8  augment.fill_mode=constant ;") == (
        "",
        "optim.b1=0.8 augment.fill_mode=constant",
        "",
    )


def test_a_value_is_a_literal_or_a_text():
    text = "augment.fill_mode=constant augment.enabled=False model.features=(8,16) optim.rate_scales=head=2"
    assert parse_settings(text) == {
        "augment.fill_mode": "constant",
        "augment.enabled": False,
        "model.features": (8, 16),
        "optim.rate_scales": "head=2",
    }


@pytest.mark.parametrize("value", ["(" * 10_000, "1+", "{[]:1}", "-" * 10_000 + "1", "false"])
def test_what_is_no_literal_stays_a_text(value):
    assert parse_settings(f"augment.fill_mode={value}") == {"augment.fill_mode": value}


@pytest.mark.parametrize("text", ["", ";", " ; ", "optim.b1=0.8", "optim.b1=1 optim.b2=1;model.kwargs={}"])
def test_what_is_written_so_is_read(text):
    assert re.fullmatch(VARIANTS_PATTERN, text)


@pytest.mark.parametrize(
    "text", ["x", "optim.b1", "optim.b1=", "data.name=mnist", "seed=1", "optim.b1=1,;optim"]
)
def test_what_is_not_is_refused(text):
    assert not re.fullmatch(VARIANTS_PATTERN, text)
