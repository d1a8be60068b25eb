"""Contenders: all do the same work, in processes of their own; what is not installed is skipped and named."""

import io
import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import worker
from benchmarks.contenders import COMPARED, Work
from benchmarks.workers import ROOT, Contender, ContenderError, Worker, measure
from tests.programs import QUICKLY_COMPILED

SMALL = ("--batch_size=4", "--num_examples=16")


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """The several CPU devices of the other tests are not for the processes measured here."""
    monkeypatch.setenv("XLA_FLAGS", QUICKLY_COMPILED)


def packages_of(name):
    return worker.declared_packages(str(ROOT / "benchmarks" / "contenders" / f"{name}.py"))


@pytest.mark.parametrize("name", COMPARED)
def test_each_names_its_packages(name):
    assert packages_of(name)


@pytest.mark.parametrize("name", [name for name in COMPARED if name.startswith(("torch", "keras"))])
def test_each_does_two_steps_of_the_same_network(name):
    missing = [package for package in packages_of(name) if find_spec(package) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    try:
        process = Worker(Contender(name, name, SMALL), sys.executable)
    except ContenderError as error:
        if "CUDA" in str(error):
            pytest.skip(str(error))
        raise
    try:
        assert process.ask(steps=2)["steps"] == 2
        facts = process.ask(facts=True)
    finally:
        process.close()
    assert facts["num_params"] == 596_330
    assert np.isfinite(facts["last_loss"])


def test_ours_and_stock_flax_are_measured_in_turn_and_what_is_unknown_is_skipped():
    contenders = [Contender(name, name, SMALL) for name in ("ours", "no_such", "stock_flax")]
    measured = measure(contenders, rounds=2, seconds_per_round=0.01)
    assert set(measured.seconds_per_step) == {"ours", "stock_flax"}
    assert list(measured.skipped) == ["no_such"]
    for name in ("ours", "stock_flax"):
        assert len(measured.seconds_per_step[name]) == 2
        assert measured.facts[name]["num_params"] == 596_330
        assert np.isfinite(measured.facts[name]["last_loss"])
        assert measured.facts[name]["versions"]["jax"]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(worker, "_is_installed", lambda package: package != "torch")
    replies = io.StringIO()
    assert not worker._packages_here("keras_torch", replies)
    assert json.loads(replies.getvalue()) == {"missing": ["torch"]}


def test_the_data_are_the_same_for_all():
    work = Work(num_examples=8)
    assert work.images().dtype == np.uint8
    assert work.images().shape == (8, 28, 28, 1)
    np.testing.assert_array_equal(work.images(), Work(num_examples=8).images())
    assert set(work.labels()) <= set(range(10))
