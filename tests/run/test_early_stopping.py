"""What is better, how long a run waits for it, and what its summary says."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from mnist_jax.errors import ConfigError
from mnist_jax.run.early_stopping import EarlyStopping
from mnist_jax.run.summary import RunTotals, make_summary
from mnist_jax.studies.seeds import prepare_split
from mnist_jax.training.evaluation import EvaluationResult
from tests.run.test_experiment import make_config


def evaluation(accuracy, loss=1.0):
    return EvaluationResult(loss, accuracy, 1, 10, [1.0], [[1]])


def wait(rule, *results):
    """The totals after epochs of 4 steps with these results, or after the epoch that ends the run."""
    totals = RunTotals()
    for epoch, result in enumerate(results, 1):
        totals.end_epoch(4 * epoch, 4, "validation", result, rule)
        if rule.is_over(totals.waited_epochs):
            break
    return totals


def test_it_waits_for_so_many_epochs_after_the_best():
    results = [evaluation(accuracy) for accuracy in (0.5, 0.7, 0.6, 0.7, 0.9)]
    totals = wait(EarlyStopping(patience=2), *results)
    assert totals.best == {"step": 8, "epoch": 2, "split": "validation", "accuracy": 0.7}
    assert totals.waited_epochs == 2
    assert wait(EarlyStopping(patience=3), *results).best["epoch"] == 5
    assert wait(EarlyStopping(), *results).best["epoch"] == 5


def test_the_loss_falls_where_it_is_the_metric():
    results = [evaluation(0.5, 0.9), evaluation(0.4, 0.3), evaluation(0.9, 0.4)]
    best = wait(EarlyStopping(patience=1, metric="loss"), *results).best
    assert best == {"step": 8, "epoch": 2, "split": "validation", "accuracy": 0.4, "loss": 0.3}


def test_a_small_improvement_makes_the_best_epoch_but_does_not_prolong_the_wait():
    results = [evaluation(accuracy) for accuracy in (0.5, 0.55, 0.58, 0.9)]
    totals = wait(EarlyStopping(patience=2, min_delta=0.1), *results)
    assert totals.best["epoch"] == 3 and totals.reference == 0.5
    # Small steps add up: 0.5, 0.55, 0.65 are an improvement in the third epoch.
    totals = wait(EarlyStopping(patience=2, min_delta=0.1), *map(evaluation, (0.5, 0.55, 0.65)))
    assert (totals.reference, totals.waited_epochs) == (0.65, 0)


@pytest.mark.parametrize(("last_step", "stopped_epoch"), [(16, 4), (40, None)])
def test_the_summary_tells_where_it_stopped_and_what_is_kept(last_step, stopped_epoch):
    config = SimpleNamespace(batch_size=5, num_epochs=10, seed=3)
    experiment = SimpleNamespace(
        total_steps=40, steps_per_epoch=4, config=config, early_stopping=EarlyStopping(patience=2)
    )
    state = SimpleNamespace(step=jnp.int32(8), params={"bias": jnp.zeros(3)})
    totals = RunTotals(train_seconds=4.0, best={"step": 8})
    summary = make_summary(experiment, {}, state, evaluation(0.5), totals, last_step=last_step)
    assert summary["early_stopping"] == {
        "metric": "accuracy",
        "stopped_epoch": stopped_epoch,
        "kept_epoch": 2,
        "trained_steps": last_step,
    }
    assert summary["final_step"] == 8 and summary["steps_per_second"] == last_step / 4


def test_a_study_takes_none():
    config = make_config(early_stopping__patience=2, data__validation_examples=10)
    with pytest.raises(ConfigError, match="early_stopping.patience: .* expected 0 here"):
        prepare_split(config, "validation")
