"""Which settings may differ when a run goes on, and when it is finished."""

import json

import pytest

from mnist_jax.config.check import as_dict, check, default_config
from mnist_jax.errors import CheckpointError, ConfigError, RunError
from mnist_jax.run.resume import Settings, check_checkpoint, check_folder
from mnist_jax.storage.json_files import write_config

RUN = {"dataset": {"sha256": "a" * 64, "test_sha256": "b" * 64}}


def settings(run=RUN, **changes):
    config = default_config()
    for name, value in changes.items():
        *groups, last = name.split("__")
        target = config
        for group in groups:
            target = target[group]
        target[last] = value
    return Settings(as_dict(check(config)), run)


@pytest.fixture
def folder(tmp_path):
    """A run with one checkpoint folder, as far as its settings go."""
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    write_config(tmp_path, settings().config, RUN)
    return tmp_path


def refused(folder, wanted):
    with pytest.raises(ConfigError) as caught:
        check_folder(folder, wanted, total_steps=50)
    advice = "; give another --workdir, or go on as it was started"
    problems = [problem.removesuffix(advice) for problem in caught.value.problems]
    meta = json.loads(json.dumps({"config": settings().config, "run": RUN}))
    with pytest.raises(ConfigError) as caught_again:
        check_checkpoint(meta, wanted)
    assert caught_again.value.problems == caught.value.problems
    return problems


def test_the_same_settings_go_on(folder):
    assert check_folder(folder, settings(), total_steps=50) is None


def test_every_difference_is_listed(folder):
    wanted = settings(seed=1, batch_size=32, model__features=(8, 8, 8, 8), optim__schedule="cosine")
    assert refused(folder, wanted) == [
        "batch_size: this run was started with 64, now it is 32",
        "model.features: this run was started with [32, 32, 64, 64], now it is [8, 8, 8, 8]",
        "optim.schedule: this run was started with 'constant', now it is 'cosine'",
        "seed: this run was started with 0, now it is 1",
    ]


@pytest.mark.parametrize("name", ["sha256", "test_sha256"])
def test_other_data_is_refused(folder, name):
    run = {"dataset": RUN["dataset"] | {name: "c" * 64}}
    before = RUN["dataset"][name][:12]
    assert refused(folder, settings(run=run)) == [
        f"data: this run was started on other data ({name} {before}, now cccccccccccc)"
    ]


def test_what_changes_no_result_may_differ(folder):
    wanted = settings(
        steps_per_call=3,
        report=False,
        eval_batch_size=7,
        data__dir="elsewhere",
        checkpoint__every_steps=5,
        distributed__initialize="false",
    )
    assert check_folder(folder, wanted, total_steps=50) is None


def test_more_epochs_need_a_constant_schedule(folder):
    assert check_folder(folder, settings(num_epochs=6), total_steps=60) is None
    assert refused(folder, settings(num_epochs=4)) == ["num_epochs: this run was started with 5, now it is 4"]
    write_config(folder, settings(optim__schedule="cosine").config, RUN)
    with pytest.raises(ConfigError, match="raised from 5 to 6, but with optim.schedule=cosine the learning"):
        check_folder(folder, settings(num_epochs=6, optim__schedule="cosine"), total_steps=60)


EXTENDED = {
    **RUN,
    "extensions": [
        {"after_epochs": 5, "after_step": 50, "before": {"num_epochs": 5, "optim.schedule": "cosine"}},
        {"after_epochs": 6, "after_step": 60, "before": {"num_epochs": 6, "optim.learning_rate": 1e-3}},
    ],
}


def test_the_settings_of_an_extended_run_are_known_for_each_part():
    wanted = settings(run=EXTENDED, num_epochs=8, optim__learning_rate=0.5)
    parts = [wanted.until(count) for count in range(3)]
    assert [part.config["num_epochs"] for part in parts] == [5, 6, 8]
    assert [part.config["optim"]["schedule"] for part in parts] == ["cosine", "constant", "constant"]
    assert [part.config["optim"]["learning_rate"] for part in parts] == [1e-3, 1e-3, 0.5]
    assert [len(part.extensions) for part in parts] == [0, 1, 2]
    assert wanted.config["num_epochs"] == 8


def test_an_extension_goes_on_from_a_checkpoint_of_the_part_before_it_and_of_none_older(folder):
    wanted = settings(run=EXTENDED, num_epochs=8, optim__learning_rate=0.5)
    before = wanted.until(1)
    meta = json.loads(json.dumps({"config": before.config, "run": before.run}))
    check_checkpoint({**meta, "step": 60}, wanted)
    write_config(folder, before.config, before.run)
    assert check_folder(folder, wanted, total_steps=80) is None
    with pytest.raises(CheckpointError, match="extended after step 60, but .* is of step 59"):
        check_checkpoint({**meta, "step": 59}, wanted)
    with pytest.raises(ConfigError, match="seed: this run was started with 0, now it is 1"):
        check_checkpoint({**meta, "step": 60}, settings(run=EXTENDED, num_epochs=8, seed=1))


def test_a_field_newer_than_the_run_had_its_default(folder):
    recorded = settings().config
    del recorded["optim"]["weight_decay"]
    write_config(folder, recorded, RUN)
    assert check_folder(folder, settings(), total_steps=50) is None
    with pytest.raises(ConfigError, match="optim.weight_decay: this run was started with 0.0, now it is 0.1"):
        check_folder(folder, settings(optim__weight_decay=0.1), total_steps=50)


def test_a_folder_with_nothing_to_go_on_from_takes_any_settings(folder):
    (folder / "checkpoints" / "10").rmdir()
    assert check_folder(folder, settings(seed=1), total_steps=50) is None


def test_a_finished_run_is_known_by_its_last_step(folder):
    summary = {"final_step": 50, "test_errors": 3}
    (folder / "summary.json").write_text(json.dumps(summary))
    assert check_folder(folder, settings(), total_steps=50) == summary
    assert check_folder(folder, settings(num_epochs=6), total_steps=60) is None
    (folder / "checkpoints" / "10").rmdir()
    with pytest.raises(ConfigError, match="seed"):
        check_folder(folder, settings(seed=1), total_steps=50)


def test_a_damaged_summary_is_named(folder):
    (folder / "summary.json").write_text('{"final')
    with pytest.raises(RunError, match="summary.json.*delete it to finish the run again"):
        check_folder(folder, settings(), total_steps=50)


def test_a_run_that_stopped_early_is_finished_also_where_it_may_now_take_longer(folder):
    stopping = {"stopped_epoch": None, "kept_epoch": 2, "trained_steps": 40}
    for stopped_epoch, total_steps, finished in ((None, 40, True), (None, 50, False), (4, 50, True)):
        summary = {"final_step": 20, "early_stopping": {**stopping, "stopped_epoch": stopped_epoch}}
        (folder / "summary.json").write_text(json.dumps(summary))
        found = check_folder(folder, settings(), total_steps)
        assert found == (summary if finished else None)
