"""Pseudo labeling end to end, in small: what it records, how it goes on, what it flags and refuses."""

import json
import re

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

import mnist_jax
from mnist_jax import cli, pseudo_label
from mnist_jax.data import load_splits
from mnist_jax.errors import ConfigError, RunError
from mnist_jax.report.page import write_report
from mnist_jax.run.measure import MeasuredSteps
from mnist_jax.storage.results import read_results
from mnist_jax.studies import dry_run
from mnist_jax.studies.pseudo_label import PseudoLabelRun, prepare_pseudo_label, run_pseudo_label
from mnist_jax.studies.trainer import MemberTrainer
from mnist_jax.terminal.console import RunConsole
from tests.report.pages import browser, check_page, look_at, section, text_of
from tests.test_study import TINY, tiny_config

SETTINGS = {
    "pseudo_label.labeled_examples": "50",
    "pseudo_label.threshold": "0.11",
    "pseudo_label.views": "1",
    "augment.enabled": "True",
    "pseudo_label.rounds": "2",
    "pseudo_label.teacher_steps": "10",
    "pseudo_label.student_steps": "10",
    "pseudo_label.seeds": "0:2",
}


def settings(**overrides):
    named = {f"pseudo_label.{name}": value for name, value in overrides.items()}
    return tiny_config(**{**SETTINGS, **named})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two seeds, the second after a stop; and what was trained."""
    folder = tmp_path_factory.mktemp("pseudo") / "run"
    original, trained = MemberTrainer.train, []

    def train(self, seeds, data, *arguments):
        trained.append((tuple(seeds), data[0].shape, data[1].dtype))
        return original(self, seeds, data, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemberTrainer, "train", train)
        run_pseudo_label(settings(seeds="0:1"), str(folder))
        first = (folder / "results.jsonl").read_text()
        summary = run_pseudo_label(settings(), str(folder))
    assert (folder / "results.jsonl").read_text().startswith(first)
    return folder, summary, trained


def test_every_training_has_the_steps_it_was_given_and_no_seed_is_repeated(finished):
    shapes = [(seeds, shape[0] // 32) for seeds, shape, _ in finished[2]]
    # Teacher, two students, and the same labels alone for as many steps as the three together.
    assert shapes == [((seed,), steps) for seed in (0, 1) for steps in (10, 10, 10, 30)]
    assert {dtype for _, _, dtype in finished[2]} == {np.dtype(np.int32)}


def test_each_seed_records_teacher_students_and_gains(finished):
    folder, summary, _ = finished
    for record in read_results(folder):
        assert (record["labeled"], record["pool_size"], len(record["rounds"])) == (50, 250, 2)
        assert record["queried"] == 0 and not any("queried" in figures for figures in record["rounds"])
        assert (record["split"], record["transductive"]) == ("test", False)
        assert record["accuracy"] == record["rounds"][1]["accuracy"]
        gain = record["accuracy"] - record["supervised_only"]["accuracy"]
        assert record["gain_over_supervised"] == pytest.approx(gain)
        assert record["gain_over_teacher"] == pytest.approx(
            record["accuracy"] - record["teacher"]["accuracy"]
        )
        for figures in record["rounds"]:
            assert figures["accepted_share"] == figures["accepted"] / 250
            assert 0 < figures["pseudo_label_accuracy"] <= 1
    gains = [record["gain_over_supervised"] for record in read_results(folder)]
    assert summary["statistics"]["gain_over_supervised"]["mean"] == pytest.approx(np.mean(gains))
    assert summary["statistics"]["gain_over_supervised"]["sd"] == pytest.approx(np.std(gains, ddof=1))
    assert json.loads((folder / "summary.json").read_text())["transductive"] is False


def test_its_page_has_teacher_students_and_the_accepted_labels_of_each_class(finished):
    folder, summary, _ = finished
    page = write_report(folder).read_text()
    check_page(page)
    assert "Not shown" not in page
    figures, records = summary["statistics"], read_results(folder)
    head = text_of(page[page.index("<header>") : page.index("</header>")])
    student, gain = figures["student_accuracy"], figures["gain_over_supervised"]
    assert f"{100 * student['mean']:.2f} ± {100 * student['sd']:.2f} %" in head and "50 labels" in head
    assert f"{100 * gain['mean']:+.2f} ± {100 * gain['sd']:.2f} points against the labels alone" in head
    rows = re.findall(r"<tr>(.*?)</tr>", section(page, "rounds"), re.DOTALL)[1:]
    for record, row in zip(records, rows, strict=True):
        stages = [record["teacher"], *record["rounds"], record["supervised_only"]]
        percents = [f"{100 * stage['accuracy']:.2f}%" for stage in stages]
        assert text_of(row).split()[:5] == [str(record["seed"]), *percents]
        for figures in record["rounds"]:
            assert sum(figures["accepted_by_class"]) == figures["accepted"]
            right = sum(figures["right_by_class"])
            assert right / figures["accepted"] == pytest.approx(figures["pseudo_label_accuracy"])
            assert sum(figures["pool_by_class"]) == record["pool_size"]
    accepted = text_of(section(page, "accepted"))
    for number in (0, 1):
        mean = np.mean([record["rounds"][number]["accepted"] for record in records])
        assert f"round {number + 1} {mean:,.0f} " in accepted
    with browser() as opened:
        assert {figures for _, figures in look_at(opened, folder / "report.html")} == {2}


def test_a_dry_run_plans_the_seeds_that_are_left_and_leaves_nothing(finished, capsys, tmp_path, monkeypatch):
    folder, summary, _ = finished
    asked = []

    def measure(self, role):
        asked.append((role, self.trainer(self.steps(role)).experiment.total_steps))
        counted = {"arguments": 100, "added": self.steps(role), "total": 100 + self.steps(role)}
        return MeasuredSteps(10, self.steps(role) / 1000, 5.0, counted, None)

    monkeypatch.setattr(PseudoLabelRun, "measure", measure)
    monkeypatch.setattr(dry_run, "_measure_answers", lambda run, states: 0.001)
    (tmp_path / "defaults.py").write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict()\n"
    )
    there = sorted(folder.rglob("*"))

    def plan(workdir, **overrides):
        named = TINY | SETTINGS | {f"pseudo_label.{name}": value for name, value in overrides.items()}
        words = [f"--config={tmp_path / 'defaults.py'}", f"--workdir={workdir}", "--dry_run", "--json"]
        words += [f"--config.{name}={value}" for name, value in named.items()]
        code = cli.run_main(pseudo_label.main, pseudo_label.COMMAND, words)
        out, err = capsys.readouterr()
        return (json.loads(out), None) if code == 0 else (None, (code, err))

    refused = plan(folder, threshold="0.5")[1]
    assert refused[0] == 2 and "pseudo_label.threshold: this run was started with 0.11" in refused[1]
    refused = plan(folder, labeled_examples="5")[1]
    assert refused[0] == 2 and refused[1].count("\n") == 1 and "labeled_examples: 5 labeled" in refused[1]
    done = plan(folder)[0]
    assert (done["num_seeds"], done["seeds_left"], done["roles"], done["memory"]) == (2, 0, [], None)

    more = plan(folder, seeds="0:3")[0]
    assert (more["num_seeds"], more["seeds_left"]) == (3, 1)
    assert (more["labeled"], more["pool_size"], more["warnings"]) == (50, 250, [])
    assert asked == [("teacher", 10), ("student", 10), ("alone", 30)]
    rows = [
        (role["role"], role["trainings"], role["steps"], role["training_seconds"]) for role in more["roles"]
    ]
    assert rows == [("teacher", 1, 10, 0.1), ("student", 2, 10, 0.2), ("alone", 1, 30, pytest.approx(0.9))]
    # Two rounds of the pool and a changed copy of it; four networks measured on the test images.
    labeling = 0.001 * (2 * 2 * 250 + 4 * 1000)
    assert more["seconds"]["labeling"] == pytest.approx(labeling)
    assert more["seconds"]["total"] == pytest.approx(0.1 + 0.2 + 0.9 + 3 * 5 + labeling)
    assert more["memory"]["total_bytes"] == 130
    model = mnist_jax.load(folder / "students" / "seed-1")
    assert more["num_params"] == sum(leaf.size for leaf in jax.tree.leaves(model.variables["params"]))
    assert sorted(folder.rglob("*")) == there


def test_the_last_student_is_a_run_to_use(finished):
    folder, _, _ = finished
    model = mnist_jax.load(folder / "students" / "seed-1")
    test = load_splits("mnist_5k").test
    errors = int((model.predict(test.images).argmax(axis=1) != test.labels).sum())
    assert errors == read_results(folder)[1]["errors"]


def test_the_command_tells_the_gains(finished, monkeypatch, capsys):
    monkeypatch.setattr(MemberTrainer, "train", lambda *_: pytest.fail("trained again"))
    overrides = [f"--config.{name}={value}" for name, value in {**TINY, **SETTINGS}.items()]
    command = ["--config", "configs/smoke.py", *overrides, "--workdir", str(finished[0])]
    assert cli.run_main(pseudo_label.main, pseudo_label.COMMAND, command) == 0
    assert "gain over supervised" in capsys.readouterr().out


class AnyAnswer(MemberTrainer):
    """Trains nothing and is sure that everything is a one."""

    data: list = []
    views: list = []

    def train(self, seeds, data, *_):
        from mnist_jax.studies.trainer import Trained
        from mnist_jax.training.epoch import RunKeys

        self.data.append(data)
        state = self.create_state(RunKeys.from_seed(seeds[0]))
        return Trained(tuple(seeds), (state,), np.ones((1, 1)), 1.0, 1.0)

    def probabilities(self, state, images, *, num_views, key):
        self.views.append((num_views, jax.random.key_data(key).tolist()))
        return softmax(self.logits(state, images), axis=1)

    def logits(self, state, images):
        return np.full((len(images), 10), 0.0, np.float32) + 9.0 * np.eye(10, dtype=np.float32)[1]


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(AnyAnswer, "data", [])
    monkeypatch.setattr(AnyAnswer, "views", [])
    monkeypatch.setattr("mnist_jax.studies.pseudo_label.MemberTrainer", AnyAnswer)
    return AnyAnswer.data


def test_the_test_images_as_a_pool_are_flagged_everywhere(no_training, tmp_path, capsys):
    overrides = [
        f"--config.{name}={value}"
        for name, value in {
            **TINY,
            **SETTINGS,
            "pseudo_label.pool": "test",
            "pseudo_label.seeds": "0:1",
        }.items()
    ]
    command = ["--config", "configs/smoke.py", *overrides, "--workdir", str(tmp_path / "run")]
    assert cli.run_main(pseudo_label.main, pseudo_label.COMMAND, command) == 0
    output = capsys.readouterr().out
    assert output.count("TRANSDUCTIVE") == 3
    assert read_results(tmp_path / "run")[0]["transductive"] is True
    assert "pseudo_label_accuracy" not in read_results(tmp_path / "run")[0]["rounds"][0]
    for name in ("summary.json", "config.json", "students/seed-0/config.json"):
        content = json.loads((tmp_path / "run" / name).read_text())
        assert content.get("transductive", content.get("run", {}).get("transductive")) is True


@pytest.mark.parametrize(
    ("smoothing", "threshold", "told"), [(0.1, 0.91, True), (0.1, 0.9, False), (0.0, 0.99, False)]
)
def test_a_threshold_that_smoothed_labels_do_not_reach_is_told_of(smoothing, threshold, told, capsys):
    config = tiny_config(
        **SETTINGS | {"pseudo_label.threshold": str(threshold), "optim.label_smoothing": str(smoothing)}
    )
    prepare_pseudo_label(config, "validation", RunConsole())
    output = " ".join(capsys.readouterr().out.replace("┃", " ").split())
    assert ("with optim.label_smoothing = 0.1 a network that is sure says about 0.91" in output) is told


def test_on_validation_neither_pool_nor_labels_touch_what_is_measured(no_training, tmp_path):
    run_pseudo_label(settings(seeds="0:1"), str(tmp_path / "run"), split="validation")
    record = read_results(tmp_path / "run")[0]
    assert (record["split"], record["num_examples"], record["pool_size"]) == ("validation", 25, 225)
    assert not (tmp_path / "run" / "students" / "seed-0" / "summary.json").exists()


def test_soft_labels_are_distributions(no_training, tmp_path):
    run_pseudo_label(settings(targets="soft", seeds="0:1", rounds="1"), str(tmp_path / "run"))
    teacher, student, alone = no_training
    assert (teacher[1].ndim, student[1].ndim, alone[1].ndim) == (1, 2, 1)
    np.testing.assert_allclose(student[1].sum(axis=1), 1.0, rtol=1e-5)


def test_each_round_and_seed_looks_at_other_views(no_training, tmp_path):
    run_pseudo_label(settings(views="4"), str(tmp_path / "run"))
    assert [number for number, _ in AnyAnswer.views] == [4] * 4
    assert len({tuple(key) for _, key in AnyAnswer.views}) == 4


def labels_by_image(data):
    return {image.tobytes(): int(label) for image, label in zip(*data, strict=True)}


def test_queried_labels_are_shared_out_over_the_rounds_and_true(no_training, tmp_path, capsys):
    config = settings(queried_examples="7", rounds="3", seeds="0:1")
    run_pseudo_label(config, str(tmp_path / "run"), console=RunConsole())
    record = read_results(tmp_path / "run")[0]
    rounds = record["rounds"]
    assert [figures.get("queried") for figures in rounds] == [3, 4, None]
    assert [figures["labeled"] for figures in rounds] == [46, 50, 50]
    assert [sum(figures["pool_by_class"]) for figures in rounds] == [254, 250, 250]
    assert (record["labeled"], record["pool_size"]) == (50, 250)
    teacher, *_, alone = (labels_by_image(data) for data in no_training)
    assert (len(teacher), len(alone)) == (43, 50) and teacher.items() < alone.items()
    data = prepare_pseudo_label(config, "test", RunConsole(enabled=False)).data.train
    assert alone.items() < labels_by_image((data.images, data.labels)).items()
    # Every answer is a one.
    asked = [label for image, label in alone.items() if image not in teacher]
    assert sum(figures.get("queried_wrong", 0) for figures in rounds) == sum(label != 1 for label in asked)
    assert "seed 0: 4 labels queried, " in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["queried"] == 7
    page = text_of(write_report(tmp_path / "run").read_text())
    assert "with 50 labels (7 of them queried)" in page and "it was wrong on" in page


def test_a_single_round_queries_all(no_training, tmp_path):
    run_pseudo_label(settings(queried_examples="7", rounds="1", seeds="0:1"), str(tmp_path / "run"))
    assert read_results(tmp_path / "run")[0]["rounds"][0]["queried"] == 7


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"queried_examples": "50"}, "queried_examples: 50 of 50 labels leave none"),
        ({"queried_examples": "7", "pool": "test"}, "queried_examples: labels are asked for where they"),
    ],
)
def test_queries_that_cannot_be_answered_are_refused(wrong, problem):
    with pytest.raises(ConfigError, match=problem):
        settings(**wrong)


def test_too_few_labels_for_the_teacher_name_both_fields(tmp_path):
    with pytest.raises(
        ConfigError, match=r"labeled_examples less pseudo_label\.queried_examples: 5 labeled images"
    ):
        run_pseudo_label(settings(queried_examples="45"), str(tmp_path / "run"))


def test_a_folder_of_pictures_is_a_pool(no_training, tmp_path):
    (tmp_path / "pool").mkdir()
    images = load_splits("mnist_5k").test.images[:3, ..., 0]
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "pool" / f"{index}.png")
    run_pseudo_label(
        settings(pool="folder", pool_dir=str(tmp_path / "pool"), seeds="0:1"), str(tmp_path / "run")
    )
    assert read_results(tmp_path / "run")[0]["pool_size"] == 3
    with pytest.raises(ConfigError, match="pool_dir: is empty"):
        run_pseudo_label(settings(pool="folder"), str(tmp_path / "other"))


def test_a_threshold_that_nothing_reaches_says_what_is_reached(no_training, tmp_path):
    with pytest.raises(RunError, match=r"no image of the pool reaches .* = 0.9999 \(the highest is 0.999\)"):
        run_pseudo_label(settings(threshold="0.9999"), str(tmp_path / "run"))


def test_more_labeled_images_than_there_are_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="labeled_examples: 300; expected fewer than the 300"):
        run_pseudo_label(settings(labeled_examples="300"), str(tmp_path / "run"))
