"""summary.json: every field it promises, with numbers that follow from one another."""

import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.data.dataset import Dataset, Splits
from mnist_jax.run.datasets import RunData
from mnist_jax.run.early_stopping import NEVER
from mnist_jax.run.summary import RunTotals, find_warnings, make_summary
from mnist_jax.storage.json_files import plain_json
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.evaluation import EvaluationResult


def make_dataset(num_examples, seed):
    images = np.random.default_rng(seed).integers(0, 256, (num_examples, 4, 4, 1)).astype(np.uint8)
    labels = (np.arange(num_examples) % 2).astype(np.int32)
    return Dataset.from_arrays(images, labels, name="dots", source="made here", class_names=("a", "b"))


@pytest.fixture
def splits():
    return Splits(make_dataset(20, 0), make_dataset(6, 1), is_fallback=True, notice="not the real thing")


@pytest.fixture
def summary(splits):
    config = SimpleNamespace(batch_size=5, num_epochs=10, seed=3)
    experiment = SimpleNamespace(total_steps=40, config=config, early_stopping=NEVER)
    state = SimpleNamespace(step=jnp.int32(40), params={"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)})
    evaluation = EvaluationResult(
        loss=0.25,
        accuracy=0.5,
        errors=3,
        num_examples=6,
        per_class_accuracy=[1.0, None],
        confusion_matrix=[[3, 3], [0, 0]],
    )
    best = {"step": 20, "epoch": 5, "split": "test", "accuracy": 0.75}
    totals = RunTotals(train_seconds=4.0, eval_seconds=1.0, compile_seconds=2.0, best=best)
    dataset = RunData(splits, splits.train, None).facts()["dataset"]
    return make_summary(experiment, dataset, state, evaluation, totals)


def test_it_has_every_field_that_is_promised(summary):
    promised = (
        "dataset test_accuracy test_errors test_loss best final_step epochs seed train_seconds "
        "compile_seconds eval_seconds images_per_second steps_per_second device num_devices num_processes "
        "num_params versions git_commit"
    )
    assert set(promised.split()) <= set(summary)
    assert {"name", "source", "num_train", "num_test", "sha256"} <= set(summary["dataset"])


def test_its_numbers_are_those_of_the_run(summary):
    expected = {
        "test_accuracy": 0.5,
        "test_errors": 3,
        "test_loss": 0.25,
        "per_class_accuracy": [1.0, None],
        "final_step": 40,
        "epochs": 10,
        "seed": 3,
        "train_seconds": 4.0,
        "compile_seconds": 2.0,
        "eval_seconds": 1.0,
        "steps_per_second": 10.0,
        "images_per_second": 50.0,
        "num_params": 15,
        "num_devices": 8,
    }
    assert {name: summary[name] for name in expected} == expected
    assert summary["best"]["accuracy"] == 0.75


def test_it_is_json_as_it_stands(summary):
    assert json.loads(json.dumps(plain_json(summary))) == plain_json(summary)


def test_a_new_tally_has_spent_nothing():
    totals = RunTotals()
    spent = (totals.train_seconds, totals.eval_seconds, totals.compile_seconds, totals.epoch_seconds)
    assert spent == (0, 0, 0, 0) and totals.best is None


def test_a_network_that_says_one_class_for_everything_is_warned_of(splits):
    train = splits.train
    log = EpochLog(loss_sum=np.ones(5, np.float32), num_correct=np.full(5, 4, np.int32))
    confusion = [[40, 0], [40, 0]]
    evaluation = EvaluationResult(0.7, 0.5, 40, 80, [1.0, 0.0], confusion)
    at_chance, ignored = find_warnings(train, log, 4, evaluation)
    assert "test accuracy is 50.0%" in at_chance and "training reached 100.0%" in at_chance
    assert "never predicted on test: 'b'" in ignored
    right = EvaluationResult(0.1, 1.0, 0, 80, [1.0, 1.0], [[40, 0], [0, 40]])
    assert find_warnings(train, log, 4, right) == []
