"""Studies: the right figures, nothing done twice, nothing changed by being stopped, compared by seed."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mnist_jax import cli, study
from mnist_jax.config.check import check, default_config
from mnist_jax.errors import ConfigError, RunError
from mnist_jax.run.experiment import build_experiment
from mnist_jax.runtime.devices import Layout
from mnist_jax.studies.comparison import compare_studies
from mnist_jax.studies.results_file import append_results, read_results
from mnist_jax.studies.seeds import prepare_split, run_study
from mnist_jax.studies.trainer import MemberTrainer, member_layout
from mnist_jax.terminal.console import RunConsole
from mnist_jax.training.epoch import EpochLog, RunKeys
from mnist_jax.training.evaluation import Evaluator
from mnist_jax.training.state import create_train_state

TIMES = ("train_seconds", "compile_seconds")
TINY = {
    "num_epochs": "2",
    "batch_size": "32",
    "data.name": "mnist_5k",
    "data.train_examples": "300",
    "model.features": "(3,4)",
    "model.pool_after": "(0,1)",
    "model.dense_features": "8",
    "model.batch_norm_momentum": "0.8",
    "augment.enabled": "False",
    "optim.ema_decay": "0.5",
    # Gradients that are nothing but rounding shall move nothing: one member is compared with another program.
    "optim.epsilon": "1e-3",
    "optim.learning_rate": "0.01",
}


def tiny_config(**overrides):
    config = default_config()
    for name, value in {**TINY, **overrides}.items():
        group, _, last = name.rpartition(".")
        section = config[group] if group else config
        section[last] = value if isinstance(section[last], str) else type(section[last])(eval(value))
    return check(config)


def without_times(records):
    return [{name: value for name, value in record.items() if name not in TIMES} for record in records]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a study of four seeds, two side by side, and its summary."""
    folder = tmp_path_factory.mktemp("study") / "whole"
    return folder, run_study(tiny_config(), range(4), str(folder), side_by_side=2)


def test_it_sums_up_what_each_seed_reached_at_its_last_step(whole):
    folder, summary = whole
    records = read_results(folder)
    assert [record["seed"] for record in records] == [0, 1, 2, 3]
    # 25 of 300 are held out, and 275 make 8 batches of 32.
    assert {record["num_examples"] for record in records} == {25}
    assert {record["final_step"] for record in records} == {16}
    assert {record["split"] for record in records} == {"validation"}
    assert len({record["loss"] for record in records}) == 4
    accuracies = [record["accuracy"] for record in records]
    figures = summary["statistics"]["accuracy"]
    assert (figures["n"], figures["mean"]) == (4, pytest.approx(np.mean(accuracies)))
    assert figures["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert summary["dataset"]["num_train"] == 275
    assert summary["test_labels_used_for_choice"] is False


def test_a_member_is_the_run_of_its_seed_alone(whole):
    config, _, train, measured = prepare_split(tiny_config(), "validation")
    layout = member_layout()
    experiment = build_experiment(
        config,
        Layout(layout.replicated, None, layout.platform, 1),
        image_shape=train.image_shape,
        class_names=train.class_names,
        num_train=train.num_examples,
    )
    run, keys = experiment.make_train_steps(), RunKeys.from_seed(2)
    state = create_train_state(
        keys.params, experiment.model, experiment.image_shape, experiment.tx, use_ema=True
    )
    log = EpochLog.empty(8)
    for _ in range(2):
        state, log = run(state, log, train.images, train.labels, keys, np.int32(8))
    evaluator = Evaluator(experiment.model.apply, batch_size=25, num_classes=10)
    result = evaluator(state.eval_variables(), measured.images, measured.labels)
    record = read_results(whole[0])[2]
    assert record["loss"] == pytest.approx(result.loss, abs=2e-4)
    assert abs(record["errors"] - result.errors) <= 1


def test_a_finished_study_trains_nothing(whole, monkeypatch):
    monkeypatch.setattr(MemberTrainer, "train", lambda *_: pytest.fail("trained again"))
    folder, summary = whole
    again = run_study(tiny_config(), range(4), str(folder), side_by_side=2)
    assert again["statistics"] == summary["statistics"]
    fewer = run_study(tiny_config(), [3, 1], str(folder))
    assert fewer["seeds"] == [1, 3]


def test_killed_and_started_again_it_repeats_nothing_and_changes_nothing(whole, tmp_path):
    folder = tmp_path / "killed"
    overrides = [f"--config.{name}={value}" for name, value in TINY.items()]
    command = [sys.executable, "-m", "mnist_jax.study", "--config", "configs/smoke.py", *overrides]
    # The smoke configuration is the default one but for what is overridden here.
    command += ["--seeds", "0:4", "--side_by_side", "2", "--workdir", str(folder), "--config.seed=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and len(read_results(folder)) < 2:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    first = read_results(folder)
    assert [record["seed"] for record in first] == [0, 1]
    trained = []
    original = MemberTrainer.train

    def train(self, seeds, *arguments, **named):
        trained.extend(seeds)
        return original(self, seeds, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemberTrainer, "train", train)
        run_study(tiny_config(), range(4), str(folder), side_by_side=2)
    assert trained == [2, 3]
    ours, theirs = read_results(folder), read_results(whole[0])
    assert ours[:2] == first
    assert without_times(ours) == without_times(theirs)


@pytest.mark.parametrize(
    ("name", "value"), [("optim.learning_rate", "0.02"), ("num_epochs", "3"), ("model.dense_features", "9")]
)
def test_another_configuration_is_refused(whole, name, value):
    with pytest.raises(ConfigError, match=f"{name}: .* was started with") as caught:
        run_study(tiny_config(**{name: value}), range(4), str(whole[0]))
    assert len(caught.value.problems) == 1


def test_the_other_split_is_refused(whole):
    with pytest.raises(ConfigError, match="split: .* was started with 'validation', now it is 'test'"):
        run_study(tiny_config(**{"data.validation_examples": "25"}), range(4), str(whole[0]), split="test")


def test_on_validation_no_test_image_is_looked_at(tmp_path, monkeypatch):
    seen = []

    class Trainer(MemberTrainer):
        def logits(self, state, images):
            seen.append(images.copy())
            return np.zeros((len(images), 10), np.float32)

        def train(self, seeds, data, *_):
            seen.append(data[0])
            state = self.create_state(RunKeys.from_seed(seeds[0]))
            from mnist_jax.studies.trainer import Trained

            return Trained(tuple(seeds), (state,), 1.0, 1.0)

    monkeypatch.setattr("mnist_jax.studies.seeds.MemberTrainer", Trainer)
    run_study(tiny_config(), [0], str(tmp_path / "study"))
    _, splits, train, measured = prepare_split(tiny_config(), "validation")
    assert (seen[0] == train.images).all()
    assert (seen[1] == measured.images).all()
    assert (measured.images == splits.train.images[275:300]).all()


def test_a_loss_that_is_not_finite_names_the_seed(tmp_path):
    with pytest.raises(RunError, match=r"the loss of seed 1 is not finite in step 6"):
        trainer = MemberTrainer.__new__(MemberTrainer)
        trainer.experiment = type("E", (), {"steps_per_epoch": 8, "config": tiny_config()})()
        losses = np.zeros((2, 8))
        losses[1, 5] = np.nan
        trainer._check_losses(losses, (0, 1), 8, 4)


def test_the_number_side_by_side_follows_memory():
    config, _, train, _ = prepare_split(tiny_config(), "validation")
    experiment = build_experiment(
        config,
        member_layout(),
        image_shape=train.image_shape,
        class_names=train.class_names,
        num_train=train.num_examples,
    )
    trainer, data = MemberTrainer(experiment), (train.images, train.labels)
    assert trainer.choose_group_size(7, 30, data) == 7
    assert trainer.choose_group_size(7, 3, data) == 3
    assert 1 <= trainer.choose_group_size(0, 30, data) <= 30
    # At least the activations of the first convolution: 32 images of 26x26 with 3 channels, 4 bytes each.
    assert 32 * 26 * 26 * 3 * 4 < trainer.bytes_of_member(data) < 100e6


def write_study(folder, accuracies, split="validation"):
    folder.mkdir()
    append_results(folder, [{"seed": s, "split": split, "accuracy": a} for s, a in accuracies.items()])
    (folder / "summary.json").write_text('{"kind": "study", "test_labels_used_for_choice": false}')
    return str(folder)


def test_two_studies_are_compared_by_seed(tmp_path):
    first = write_study(tmp_path / "a", {0: 0.990, 1: 0.992, 2: 0.994, 3: 0.991})
    second = write_study(tmp_path / "b", {3: 0.9921, 2: 0.9949, 1: 0.9931, 0: 0.9912, 9: 0.1})
    found = compare_studies(first, second)
    assert found["differences"]["mean"] == pytest.approx(0.001075)
    assert (found["differs"], found["differences"]["n"], found["second"]["n"]) == (True, 4, 5)
    assert found["p_value"] < 0.001
    assert json.loads((tmp_path / "a" / "summary.json").read_text())["test_labels_used_for_choice"] is False


def test_compared_on_test_both_say_so(tmp_path):
    first = write_study(tmp_path / "a", {0: 0.99, 1: 0.98}, "test")
    second = write_study(tmp_path / "b", {0: 0.98, 1: 0.98}, "test")
    assert compare_studies(first, f"{second}/results.jsonl")["test_labels_used_for_choice"]
    for name, other in (("a", "b"), ("b", "a")):
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert summary["test_labels_used_for_choice"] is True
        assert other in summary["compared_on_test_with"][0]


def test_what_cannot_be_compared_is_refused(tmp_path):
    first = write_study(tmp_path / "a", {0: 0.99})
    with pytest.raises(RunError, match="no results"):
        compare_studies(first, str(tmp_path / "nothing"))
    with pytest.raises(RunError, match="measured on test and validation"):
        compare_studies(first, write_study(tmp_path / "b", {0: 0.98}, "test"))
    with pytest.raises(RunError, match="no seed in common"):
        compare_studies(first, write_study(tmp_path / "c", {1: 0.98}))


def test_a_damaged_results_file_names_the_line(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"seed": 1}\n{"see\n')
    with pytest.raises(RunError, match="line 2: expected a JSON object with a seed"):
        read_results(tmp_path)


def test_the_comparison_as_a_command(tmp_path, capsys):
    first = write_study(tmp_path / "a", {0: 0.990, 1: 0.992, 2: 0.994})
    second = write_study(tmp_path / "b", {0: 0.991, 1: 0.991, 2: 0.9945})
    assert cli.run_main(study.compare, study.COMPARE, ["--compare", first, second]) == 0
    output = capsys.readouterr().out
    assert "no difference beyond chance is shown" in output
    assert "four times out of five with" in output
    assert cli.run_main(study.compare, study.COMPARE, ["--compare", first, second, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"]["n"] == 3
    assert cli.run_main(study.compare, study.COMPARE, ["--compare", first]) == 2
    assert "expected two studies" in capsys.readouterr().err


def test_the_study_as_a_command(whole, capsys):
    overrides = [f"--config.{name}={value}" for name, value in TINY.items()]
    command = ["--config", "configs/smoke.py", *overrides, "--seeds", "0:4", "--workdir", str(whole[0])]
    assert cli.run_main(study.main, study.COMMAND, command) == 0
    output = capsys.readouterr().out
    assert "validation accuracy" in output and "(n=4;" in output and "±" in output


def test_signals_keep_what_is_finished(tmp_path, monkeypatch):
    from mnist_jax.studies.trainer import Stopped

    class Stop:
        requested, exit_code = True, 143

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("mnist_jax.studies.seeds.StopRequest", Stop)
    with pytest.raises(Stopped) as caught:
        run_study(
            tiny_config(),
            range(2),
            str(tmp_path / "study"),
            side_by_side=2,
            console=RunConsole(enabled=False),
        )
    assert caught.value.exit_code == 143
    assert read_results(tmp_path / "study") == []


@pytest.mark.parametrize("flags", [["--help"], ["--compare", "a", "--help"]])
def test_both_forms_of_the_command_start(flags):
    command = [sys.executable, "-m", "mnist_jax.study", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert ("Compares two studies" in done.stdout) == ("--compare" in flags)
