"""Studies: the right figures, nothing done twice, nothing changed by being stopped, compared by seed."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from mnist_jax import cli, study
from mnist_jax.config.check import check, default_config
from mnist_jax.data.dataset import draw_stratified
from mnist_jax.errors import ConfigError, DataError, RunError
from mnist_jax.report.page import write_report
from mnist_jax.storage.results import append_results, read_results
from mnist_jax.studies.comparison import compare_studies
from mnist_jax.studies.seeds import prepare_folds, prepare_split, run_study
from mnist_jax.studies.trainer import MemberTrainer, member_experiment
from mnist_jax.terminal.console import RunConsole
from mnist_jax.training.epoch import RunKeys
from mnist_jax.training.epoch_log import EpochLog
from mnist_jax.training.evaluation import Evaluator
from tests.report.pages import browser, check_page, look_at, section, text_of
from tests.states import create_train_state

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
    "optim.ema_fraction": "0.1",
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


def test_its_page_has_the_figures_of_the_summary_and_a_curve_for_each_seed(whole):
    folder, summary = whole
    page = write_report(folder).read_text()
    check_page(page)
    figures, records = summary["statistics"]["accuracy"], read_results(folder)
    head = text_of(page[page.index("<header>") : page.index("</header>")])
    assert f"{100 * figures['mean']:.3f} ± {100 * figures['sd']:.3f} %" in head
    assert f"{100 * figures['low']:.3f} to {100 * figures['high']:.3f} %" in head and "of 4 seeds" in head
    best, worst = (function(records, key=lambda record: record["errors"]) for function in (min, max))
    assert f"seed {best['seed']}, {best['errors']} errors" in head
    assert f"seed {worst['seed']}, {worst['errors']} errors" in head
    rows = re.findall(r"<tr>(.*?)</tr>", section(page, "results"), re.DOTALL)[1:]
    for record, row in zip(records, rows, strict=True):
        words = text_of(row)
        assert words.startswith(str(record["seed"])) and f"{record['loss']:.4f}" in words
    assert [len(record["train_losses"]) for record in records] == [2] * 4
    assert section(page, "seeds").count("<svg") == 2
    commands = text_of(section(page, "reproduce"))
    assert re.search(r"python -m mnist_jax\.study --config \w+ --seeds 0:4 --split validation ", commands)
    assert "--config.model.dense_features=8 " in commands and "--config.data.train_examples=300 " in commands
    with browser() as opened:
        assert {figures for _, figures in look_at(opened, folder / "report.html")} == {2}


def test_the_page_of_a_study_under_way_has_the_seeds_so_far(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "study")
    (folder / "summary.json").unlink()
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    # As an earlier version wrote them, without curves.
    old = [
        {name: value for name, value in json.loads(line).items() if name != "train_losses"} for line in lines
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old[:2]))
    page = write_report(folder).read_text()
    assert "these are the seeds so far" in page and section(page, "seeds").count("<svg") == 1
    (folder / "results.jsonl").unlink()
    page = write_report(folder).read_text()
    check_page(page)
    assert "No seed of this study has ended yet" in page


def test_what_was_chosen_to_suit_the_data_is_said():
    file = io.StringIO()
    config, data, _ = prepare_split(tiny_config(batch_size="0"), "validation", RunConsole(file=file))
    assert config.batch_size > 0
    assert f"training images: batches of {config.batch_size}\n" in file.getvalue()
    assert data.remarks[-1] in file.getvalue()


def test_a_member_is_the_run_of_its_seed_alone(whole):
    config, data, measured = prepare_split(tiny_config(), "validation")
    train = data.train
    experiment = member_experiment(config, train)
    run, keys = experiment.jit_train_steps(), RunKeys.from_seed(2)
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

            return Trained(tuple(seeds), (state,), np.ones((1, 1)), 1.0, 1.0)

    monkeypatch.setattr("mnist_jax.studies.seeds.MemberTrainer", Trainer)
    run_study(tiny_config(), [0], str(tmp_path / "study"))
    _, data, measured = prepare_split(tiny_config(), "validation")
    assert (seen[0] == data.train.images).all()
    assert (seen[1] == measured.images).all()
    # The 300 images are divided: 25 are held out, drawn over all classes, and the others trained on.
    used = [image.tobytes() for image in data.splits.train.images[:300]]
    assert sorted(image.tobytes() for image in (*data.train.images, *measured.images)) == sorted(used)
    drawn = draw_stratified(data.splits.train.labels[:300], 25)
    assert (measured.images == data.splits.train.images[drawn]).all()


def test_a_loss_that_is_not_finite_names_the_seed(tmp_path):
    with pytest.raises(RunError, match=r"the loss of seed 1 is not finite in step 6"):
        trainer = MemberTrainer.__new__(MemberTrainer)
        trainer.experiment = type("E", (), {"steps_per_epoch": 8, "config": tiny_config()})()
        losses = np.zeros((2, 8))
        losses[1, 5] = np.nan
        trainer._check_losses(losses, (0, 1), 8, 4)


def test_the_number_side_by_side_follows_memory():
    config, run_data, _ = prepare_split(tiny_config(), "validation")
    train = run_data.train
    experiment = member_experiment(config, train)
    trainer, data = MemberTrainer(experiment), (train.images, train.labels)
    assert trainer.choose_group_size(7, 30, data) == 7
    assert trainer.choose_group_size(7, 3, data) == 3
    # These are CPU devices, and each trains one.
    assert trainer.choose_group_size(0, 30, data) == jax.local_device_count()
    assert trainer.choose_group_size(0, 3, data) == 3
    # At least the activations of the first convolution: 32 images of 26x26 with 3 channels, 4 bytes each.
    assert 32 * 26 * 26 * 3 * 4 < trainer.bytes_of_member(data) < 100e6


def write_study(folder, errors, split="validation", *, images="a", num_examples=10_000, finished=True):
    folder.mkdir()
    records = [
        {
            "seed": seed,
            "split": split,
            "accuracy": 1 - count / num_examples,
            "errors": count,
            "num_examples": num_examples,
        }
        for seed, count in errors.items()
    ]
    if records:
        append_results(folder, records)
    dataset = {"sha256": 64 * "1", "test_sha256": 64 * (images if split == "test" else "0")}
    run = {"kind": "study", "split": split, "dataset": dataset, "measured_sha256": 64 * images}
    (folder / "config.json").write_text(json.dumps({"seed": 0, "run": run}))
    if finished:
        (folder / "summary.json").write_text('{"kind": "study", "test_labels_used_for_choice": false}')
    return str(folder)


def noted(folder):
    return json.loads((folder / "summary.json").read_text())["test_labels_used_for_choice"]


def test_two_studies_are_compared_by_seed(tmp_path):
    first = write_study(tmp_path / "a", {0: 100, 1: 80, 2: 60, 3: 90})
    second = write_study(tmp_path / "b", {3: 79, 2: 51, 1: 69, 0: 88, 9: 9000})
    found = compare_studies(first, second)
    assert found["differences"]["mean"] == pytest.approx(0.001075)
    assert (found["differs"], found["differences"]["n"], found["second"]["n"]) == (True, 4, 5)
    assert found["first"]["mean"] == pytest.approx(0.99175)
    assert found["p_value"] < 0.001
    assert not noted(tmp_path / "a") and not noted(tmp_path / "b")


def test_compared_on_test_both_say_so(tmp_path):
    first = write_study(tmp_path / "a", {0: 100, 1: 200}, "test")
    second = write_study(tmp_path / "b", {0: 200, 1: 201}, "test")
    found = compare_studies(first, f"{second}/results.jsonl")
    assert found["test_labels_used_for_choice"]
    assert found["noted_in"] == [first, f"{second}/results.jsonl"]
    for name, other in (("a", "b"), ("b", "a")):
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert summary["test_labels_used_for_choice"] is True
        assert summary["compared_on_test_with"] == [str(tmp_path / other)]


def test_an_unfinished_study_on_test_is_not_said_to_be_noted(tmp_path, capsys):
    first = write_study(tmp_path / "a", {0: 100, 1: 200}, "test")
    second = write_study(tmp_path / "b", {0: 200, 1: 201}, "test", finished=False)
    assert cli.run_main(study.main, study.COMMAND, ["--compare", first, second]) == 0
    output = capsys.readouterr().out
    assert f"  noted in {first}\n  not noted in {second}: no summary.json" in output
    assert noted(tmp_path / "a")
    assert not (tmp_path / "b" / "summary.json").exists()


def test_a_study_that_goes_on_keeps_what_was_noted(whole, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(whole[0], folder)
    summary = json.loads((folder / "summary.json").read_text())
    note = {"test_labels_used_for_choice": True, "compared_on_test_with": ["other"]}
    (folder / "summary.json").write_text(json.dumps(summary | note))
    again = run_study(tiny_config(), range(3), str(folder))
    assert {name: again[name] for name in note} == note


def test_what_cannot_be_compared_is_refused(tmp_path):
    first = write_study(tmp_path / "a", {0: 100})
    for problem, second in {
        "cannot read .*config.json.*expected the folder of a run": str(tmp_path / "nothing"),
        "no results": write_study(tmp_path / "empty", {}),
        "measured on validation, .* on test; expected one split": write_study(
            tmp_path / "b", {0: 20}, "test"
        ),
        "no seed in common": write_study(tmp_path / "c", {1: 20}),
        "measured on different images": write_study(tmp_path / "d", {0: 20}, images="b"),
        "are the same study": str(tmp_path / "a" / "results.jsonl"),
    }.items():
        with pytest.raises(RunError, match=problem):
            compare_studies(first, second)


def test_results_that_are_no_study_s_are_refused(tmp_path):
    first = write_study(tmp_path / "a", {0: 100})
    second = write_study(tmp_path / "b", {0: 100})
    append_results(tmp_path / "b", [{"seed": 0, "errors": 90, "num_examples": 10_000}])
    with pytest.raises(RunError, match="a seed with several results"):
        compare_studies(first, second)
    third = write_study(tmp_path / "c", {})
    append_results(tmp_path / "c", [{"seed": 0, "accuracy": 0.5}])
    with pytest.raises(RunError, match="seed 0 has no errors and num_examples"):
        compare_studies(first, third)


def test_a_study_says_what_it_was_measured_on(whole, tmp_path):
    _, _, measured = prepare_split(tiny_config(), "validation")
    run = json.loads((whole[0] / "config.json").read_text())["run"]
    assert run["measured_sha256"] == measured.sha256
    # A study of an earlier version does not.
    other = write_study(tmp_path / "old", {0: 1})
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    del config["run"]["measured_sha256"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="does not say which images it was measured on"):
        compare_studies(str(whole[0]), other)


def test_a_damaged_results_file_names_the_line(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"seed": 1}\n{"see\n')
    with pytest.raises(RunError, match="line 2: expected a JSON object with a seed"):
        read_results(tmp_path)


def test_the_comparison_as_a_command(tmp_path, capsys):
    first = write_study(tmp_path / "a", {0: 100, 1: 80, 2: 60})
    second = write_study(tmp_path / "b", {0: 90, 1: 90, 2: 55})
    assert cli.run_main(study.main, study.COMMAND, ["--compare", first, second]) == 0
    output = capsys.readouterr().out
    assert "no difference beyond chance is shown" in output
    assert "four times out of five with" in output
    assert "noted" not in output
    assert cli.run_main(study.main, study.COMMAND, [f"--compare={first}", second, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"]["n"] == 3


def test_equal_differences_give_no_p_value_and_no_number_of_seeds(tmp_path, capsys):
    first = write_study(tmp_path / "a", {0: 41, 1: 37, 2: 33, 3: 48})
    second = write_study(tmp_path / "b", {0: 40, 1: 36, 2: 32, 3: 47})
    assert cli.run_main(study.main, study.COMMAND, ["--compare", first, second]) == 0
    output = capsys.readouterr().out
    assert "the same difference for every common seed: without spread there is no t-test" in output
    assert "p =" not in output and "differ (at" not in output and "found four times" not in output
    assert "second less first: 0.010 ± 0.000 %" in output


def test_compare_needs_two_studies_and_nothing_else(tmp_path, capsys):
    first = write_study(tmp_path / "a", {0: 100})
    for words, problem in (
        ([first], "--compare: expected DIR DIR, got 1 of 2"),
        ([], "--compare: expected DIR DIR, got 0 of 2"),
        ([first, ""], "--compare: expected non-empty text of one line"),
        ([first, first, "third"], "stray argument 'third'"),
        ([first, first, "--config", "configs/smoke.py"], "--compare: takes no --config"),
        ([first, first, "--config.seed=1"], "--compare: takes no --config"),
    ):
        assert cli.run_main(study.main, study.COMMAND, ["--compare", *words]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith(f"error: {problem}")
    assert cli.run_main(study.main, study.COMMAND, []) == 2
    assert "--config: is missing" in capsys.readouterr().err


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


def test_the_help_tells_of_both_uses(capsys):
    for words in (["--help"], ["--compare", "a", "--help"]):
        assert cli.run_main(study.main, study.COMMAND, words) == 0
        assert "--compare DIR DIR" in capsys.readouterr().out


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    """The folder of a study of two seeds on five folds, stopped after three of them, and what went on."""
    folder = tmp_path_factory.mktemp("crossed") / "cv"
    config = tiny_config(num_epochs="1", **{"data.train_examples": "161"})
    trained, original = [], MemberTrainer.train

    def train(self, seeds, data, *arguments, **named):
        if len(trained) == 3:
            trained.append(None)
            raise KeyboardInterrupt
        trained.append((tuple(seeds), len(data[0])))
        return original(self, seeds, data, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemberTrainer, "train", train)
        with pytest.raises(KeyboardInterrupt):
            run_study(config, [3, 4], str(folder), split="cv", side_by_side=2)
        first = read_results(folder)
        summary = run_study(config, [3, 4], str(folder), split="cv", side_by_side=2)
    return folder, config, first, trained, summary


def test_cross_validation_holds_each_fold_out_once_and_goes_on_where_it_was(crossed):
    folder, config, first, trained, summary = crossed
    records = read_results(folder)
    assert records[:6] == first
    assert [(r["fold"], r["seed"]) for r in records] == [(f, s) for f in range(1, 6) for s in (3, 4)]
    # 161 images: a fold of 33 and four of 32.
    sizes = [record["num_examples"] for record in records[::2]]
    assert sorted(sizes) == [32, 32, 32, 32, 33]
    assert trained == [*(((3, 4), 161 - n) for n in sizes[:3]), None, *(((3, 4), 161 - n) for n in sizes[3:])]
    _, folds = prepare_folds(config)
    held_out = [folds.hold_out(fold) for fold in range(5)]
    assert [data.validation.num_examples for data in held_out] == sizes
    used = sorted(image.tobytes() for image in folds.used.images)
    assert sorted(image.tobytes() for data in held_out for image in data.validation.images) == used
    assert all(
        sorted(image.tobytes() for image in (*data.train.images, *data.validation.images)) == used
        for data in held_out
    )


def test_the_summary_of_cross_validation_is_over_folds_and_seeds(crossed):
    folder, _, _, _, summary = crossed
    records = read_results(folder)
    figures = summary["statistics"]["accuracy"]
    accuracies = [record["accuracy"] for record in records]
    assert figures["n"] == 10 and figures["mean"] == pytest.approx(np.mean(accuracies))
    assert figures["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert summary["split"] == "cv" and summary["seeds"] == [3, 4]
    for fold, found in enumerate(summary["folds"]):
        assert found["fold"] == fold + 1 and found["accuracy"]["n"] == 2
        assert found["accuracy"]["mean"] == pytest.approx(np.mean(accuracies[2 * fold : 2 * fold + 2]))
    page = write_report(folder).read_text()
    check_page(page)
    rows = re.findall(r"<tr>(.*?)</tr>", section(page, "results"), re.DOTALL)[1:]
    assert [text_of(row).split(" ·")[0][:14] for row in rows][:2] == ["fold 1, seed 3", "fold 1, seed 4"]
    assert "--seeds 3:5 --split cv" in text_of(section(page, "reproduce"))


def test_cross_validations_are_compared_by_the_errors_over_all_folds(crossed, tmp_path):
    folder, _, _, _, _ = crossed
    other = shutil.copytree(folder, tmp_path / "other")
    lines = read_results(folder)
    (other / "results.jsonl").unlink()
    append_results(other, [{**line, "errors": line["errors"] - (line["seed"] == 4)} for line in lines])
    found = compare_studies(str(folder), str(other))
    # Seed 4 has one error less on each of five folds, seed 3 as many.
    assert found["differences"]["n"] == 2 and found["split"] == "cv"
    assert found["differences"]["mean"] == pytest.approx(2.5 / 161)
    assert not found["test_labels_used_for_choice"]
    (other / "results.jsonl").unlink()
    append_results(other, lines[:3])
    with pytest.raises(RunError, match="no seed has ended on every fold yet"):
        compare_studies(str(folder), str(other))


def test_what_cross_validation_cannot_do_is_refused(capsys):
    for change, message in (
        (
            {"data.validation_examples": "5"},
            "validation_examples: each fold .* expected 0, got 5",
        ),
        ({"data.validation": "last"}, "data.validation: expected auto, writers or classes for folds"),
        ({"data.train_examples": "39"}, "batch_size: 32 is more than the 31 training images"),
    ):
        with pytest.raises(ConfigError, match=message):
            prepare_folds(tiny_config(**change))
    with pytest.raises(DataError, match=r"who wrote what is not known; expected data.validation=classes"):
        prepare_folds(tiny_config(**{"data.validation": "writers"}))


@pytest.mark.slow
def test_a_dry_run_of_cross_validation_counts_each_fold(crossed, capsys):
    folder, _, _, _, _ = crossed
    overrides = [f"--config.{name}={value}" for name, value in TINY.items()]
    overrides += ["--config.num_epochs=1", "--config.data.train_examples=161", "--dry_run", "--json"]
    words = ["--config", "configs/smoke.py", *overrides, "--seeds", "3:6", "--split", "cv"]
    assert cli.run_main(study.main, study.COMMAND, [*words, "--workdir", str(folder)]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["num_members"], plan["members_left"]) == (15, 5)
    assert plan["groups"][0]["members"] == 5
