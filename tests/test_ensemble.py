"""Ensembles: fixed members, resumable, one model in the end."""

import json
import re
import shutil

import jax
import numpy as np
import pytest

import mnist_jax
from mnist_jax import cli, ensemble, evaluate
from mnist_jax.data import load_splits, writers
from mnist_jax.errors import ConfigError
from mnist_jax.report.page import write_report
from mnist_jax.storage.results import read_results
from mnist_jax.storage.votes import read_votes
from mnist_jax.studies.ensemble import Member, list_members, member_config, run_ensemble
from mnist_jax.studies.trainer import MemberTrainer
from mnist_jax.terminal.console import RunConsole
from tests.report.pages import browser, check_page, look_at, section, text_of
from tests.test_study import TINY, tiny_config

SEEDS = {"ensemble.seeds": "0:4", "num_epochs": "3"}


def dispute(sha256):
    """As if of the embedded test digits the first hundred were disputed, all five reviewers for one more."""
    test = load_splits("mnist_5k").test
    labels = test.labels[:100].tolist() if sha256 == test.sha256 else []
    return [
        {"index": i, "label": label, "other": (label + 1) % 10, "kept": 0, "other_votes": 5}
        for i, label in enumerate(labels)
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An ensemble of four, stopped after its first two members and started again; what was trained when."""
    folder = tmp_path_factory.mktemp("ensemble") / "run"
    original, groups = MemberTrainer.train, []

    def train(self, seeds, *arguments):
        if len(groups) == 1:
            groups.append("killed")
            raise SystemExit
        groups.append(tuple(seeds))
        return original(self, seeds, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemberTrainer, "train", train)
        with pytest.raises(SystemExit):
            run_ensemble(tiny_config(**SEEDS), str(folder), side_by_side=2)
        assert [record["seed"] for record in read_results(folder)] == [0, 1]
        before = (folder / "results.jsonl").read_text()
        patch.setattr(writers, "_read_disputed", dispute)
        summary = run_ensemble(tiny_config(**SEEDS), str(folder), side_by_side=2)
    assert (folder / "results.jsonl").read_text().startswith(before)
    return folder, summary, groups


def test_started_again_no_finished_member_is_repeated(finished):
    assert finished[2] == [(0, 1), "killed", (2, 3)]
    assert [record["seed"] for record in read_results(finished[0])] == [0, 1, 2, 3]


def test_the_summary_tells_votes_members_and_sizes(finished):
    folder, summary, _ = finished
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert summary["test_accuracy"] == summary["soft_vote"]["accuracy"]
    assert summary["test_errors"] == summary["soft_vote"]["errors"]
    recorded = [record["errors"] for record in read_results(folder)]
    # Measured as trained, and once more as read back from the disk.
    assert [member["errors"] for member in summary["members"]] == recorded
    assert [row["size"] for row in summary["accuracy_by_size"]] == [1, 2, 3, 4]
    assert summary["accuracy_by_size"][3]["accuracy"] == pytest.approx(summary["test_accuracy"])
    assert summary["gain"] == pytest.approx(
        summary["test_accuracy"] - np.mean([member["accuracy"] for member in summary["members"]])
    )
    assert 0 < summary["disagreement"] < 1
    assert summary["dataset"]["num_train"] == 300


def test_the_vote_s_errors_on_disputed_labels_are_told_apart(finished, monkeypatch):
    folder, summary, _ = finished
    labels, answers = load_splits("mnist_5k").test.labels, read_votes(folder).probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers[:100] != labels[:100])
    agree = int(np.sum(answers[wrong] == (labels[wrong] + 1) % 10))
    found = {"images": 100, "errors": len(wrong), "as_reviewers": agree}
    assert summary["disputed_labels"] == found and len(wrong) > 0
    monkeypatch.setattr(writers, "_read_disputed", dispute)
    page = write_report(folder).read_text()
    check_page(page)
    assert f"wrong, of these {len(wrong)} on the 100 test labels that reviewers dispute" in text_of(page)
    assert "reviewers: 0 of 5 keep it, 5 say" in text_of(section(page, "mistakes"))
    monkeypatch.undo()
    # Of another test set than MNIST's nothing is said.
    assert "reviewers:" not in text_of(section(write_report(folder).read_text(), "mistakes"))


def test_its_page_has_the_vote_its_members_and_what_each_said(finished):
    folder, summary, _ = finished
    page = write_report(folder).read_text()
    check_page(page)
    assert "Not shown" not in page
    head = text_of(page[page.index("<header>") : page.index("</header>")])
    assert f"{100 * summary['test_accuracy']:.2f}% of 1,000 test images right by the vote" in head
    assert f"{summary['test_errors']} wrong" in head
    assert f"the vote: {100 * summary['gain']:+.2f} points" in head
    rows = [text_of(row) for row in re.findall(r"<tr>(.*?)</tr>", section(page, "members"), re.DOTALL)[1:]]
    figures = [summary["soft_vote"], *summary["members"]]
    for row, member in zip(rows, figures, strict=True):
        assert f"{100 * member['accuracy']:.2f}% {member['errors']} {member['loss']:.4f}" in row
    assert section(page, "members").count("<svg") == 3
    votes = read_votes(folder)
    labels = load_splits("mnist_5k").test.labels
    assert votes.chosen.shape == (4, 1000)
    assert [int((row != labels).sum()) for row in votes.chosen] == [m["errors"] for m in summary["members"]]
    card = text_of(re.search(r"<figcaption>(.*?)</figcaption>", section(page, "mistakes"), re.DOTALL)[1])
    index = int(re.search(r"#(\d+)", card)[1])
    said = dict(zip(*np.unique(votes.chosen[:, index], return_counts=True), strict=True))
    for label, count in said.items():
        assert f"{count}× {label}" in card
    assert votes.probabilities[index].argmax() != labels[index]
    with browser() as opened:
        assert {figures for _, figures in look_at(opened, folder / "report.html")} == {5}


def test_the_page_says_what_is_missing(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    (folder / "votes.npz").write_bytes(b"PK")
    page = write_report(folder).read_text()
    check_page(page)
    assert "there is no votes.npz; start the same command again" in text_of(section(page, "mistakes"))
    (folder / "summary.json").unlink()
    page = write_report(folder).read_text()
    check_page(page)
    assert "4 members are trained; the vote is still to come" in text_of(page)


def test_it_loads_as_one_model(finished):
    folder, summary, _ = finished
    model = mnist_jax.load(folder)
    test = load_splits("mnist_5k").test
    probabilities = model.predict(test.images)
    assert int((probabilities.argmax(axis=1) != test.labels).sum()) == summary["test_errors"]
    members = [mnist_jax.load(folder / "members" / f"cnn-{seed}") for seed in range(4)]
    mean = np.mean([member.predict(test.images[:9]) for member in members], axis=0)
    np.testing.assert_allclose(probabilities[:9], mean, atol=1e-5)
    assert (model.step, model.image_shape, len(model.class_names)) == (27, (28, 28, 1), 10)


def test_evaluate_takes_it_as_one_model(finished, capsys):
    folder, summary, _ = finished
    assert cli.run_main(evaluate.main, evaluate.COMMAND, ["--workdir", str(folder), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["test_errors"] == summary["test_errors"]
    assert result["test_loss"] == pytest.approx(summary["test_loss"], rel=1e-4)


def test_the_command_tells_what_the_vote_gains(finished, monkeypatch, capsys):
    monkeypatch.setattr(MemberTrainer, "train", lambda *_: pytest.fail("trained again"))
    overrides = [f"--config.{name}={value}" for name, value in {**TINY, **SEEDS}.items()]
    command = ["--config", "configs/smoke.py", *overrides, "--workdir", str(finished[0])]
    assert cli.run_main(ensemble.main, ensemble.COMMAND, command) == 0
    output = capsys.readouterr().out
    assert "soft vote" in output and "points" in output and "calibration error" in output


def test_another_ensemble_is_refused(finished):
    with pytest.raises(ConfigError, match="ensemble.seeds: .* was started with '0:4'"):
        run_ensemble(tiny_config(**{**SEEDS, "ensemble.seeds": "0:5"}), str(finished[0]))


def test_members_are_every_network_with_every_seed():
    config = tiny_config(**{"ensemble.models": "simple_m3,cnn", "ensemble.seeds": "4,1"})
    assert list_members(config) == [
        Member("simple_m3", 4),
        Member("cnn", 4),
        Member("simple_m3", 1),
        Member("cnn", 1),
    ]
    assert list_members(tiny_config())[0] == Member("cnn", 0)


def test_seeds_take_the_variants_in_turn():
    variants = ";augment.cutout_fraction=0.25; optim.schedule=cosine  optim.learning_rate=0.1"
    config = tiny_config(**{"ensemble.seeds": "3:7", "ensemble.variants": variants})
    members = list_members(config)
    assert [member.variant for member in members] == [
        "",
        "augment.cutout_fraction=0.25",
        "optim.schedule=cosine optim.learning_rate=0.1",
        "",
    ]
    plain, cutout, cosine, _ = [member_config(config, member) for member in members]
    assert (plain.augment.cutout_fraction, cutout.augment.cutout_fraction) == (0.0, 0.25)
    assert plain.optim.schedule == cutout.optim.schedule == "constant"
    assert (cosine.optim.schedule, cosine.optim.learning_rate, cosine.seed) == ("cosine", 0.1, 5)


@pytest.mark.parametrize(
    ("variants", "problem"),
    [
        ("augment.cutout=1", "variant 1: augment.cutout: there is no such field"),
        (";augment.cutout_fraction=2", "variant 2: augment.cutout_fraction: expected a finite number of"),
        (";;model.name=simple_m3", "model.name: networks are named by ensemble.models"),
        ("data.name=cifar10", "expected settings of augment, model, optim"),
        ("augment.cutout_fraction", "expected settings of augment, model, optim"),
        ("optim.muon_dense=False", "variant 1: optim.muon_dense: optim.name=adam does not take it"),
    ],
)
def test_variants_that_cannot_be_are_named(variants, problem):
    with pytest.raises(ConfigError, match=f"ensemble.variants: .*{problem}"):
        tiny_config(**{"ensemble.variants": variants})


def test_members_of_different_kinds_are_trained_as_they_would_be_alone(tmp_path, capsys):
    flags = {"ensemble.seeds": "0:3", "num_epochs": "1", "ensemble.variants": ";augment.rotation_degrees=45"}
    summary = run_ensemble(tiny_config(**flags), str(tmp_path / "varied"))
    assert [member.get("variant") for member in summary["members"]] == [
        None,
        "augment.rotation_degrees=45",
        None,
    ]
    turned = {"ensemble.seeds": "1", "num_epochs": "1", "augment.rotation_degrees": "45"}
    turned["ensemble.variants"] = ";augment.cutout_fraction=0.25"
    run_ensemble(tiny_config(**turned), str(tmp_path / "turned"), console=RunConsole())
    printed = " ".join("".join(capsys.readouterr()).split())
    assert "no seed is left for the variant augment.cutout_fraction=0.25" in printed
    varied, alone = (
        mnist_jax.load(tmp_path / name / "members" / "cnn-1", "latest") for name in ("varied", "turned")
    )
    assert varied.config.augment.rotation_degrees == 45.0
    for ours, expected in zip(
        jax.tree.leaves(varied.variables), jax.tree.leaves(alone.variables), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
    table = section((write_report(tmp_path / "varied")).read_text(), "members")
    assert "differs in" in table and "augment.rotation_degrees=45" in table
    (tmp_path / "defaults.py").write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict()\n"
    )
    words = [f"--config.{name}={value}" for name, value in (TINY | flags).items()]
    words += [f"--config={tmp_path / 'defaults.py'}", f"--workdir={tmp_path / 'new'}", "--dry_run", "--json"]
    capsys.readouterr()
    assert cli.run_main(ensemble.main, ensemble.COMMAND, words) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert [(group.get("variant"), group["members"]) for group in groups] == [
        (None, 2),
        ("augment.rotation_degrees=45", 1),
    ]


@pytest.mark.parametrize(
    ("names", "problem"), [("cnn,cmm", "'cmm' is no network"), ("cnn,cnn", "named twice")]
)
def test_networks_that_are_not_there_are_refused(names, problem):
    with pytest.raises(ConfigError, match=problem):
        list_members(tiny_config(**{"ensemble.models": names}))


def test_a_dry_run_plans_the_members_that_are_left_and_leaves_nothing(finished, capsys, tmp_path):
    folder, summary, _ = finished
    # The defaults, as `tiny_config` changes them.
    (tmp_path / "defaults.py").write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict()\n"
    )
    there = sorted(folder.rglob("*"))
    overrides = TINY | SEEDS | {"ensemble.seeds": "0:6"}
    words = [f"--config={tmp_path / 'defaults.py'}"]
    words += [f"--config.{name}={value}" for name, value in overrides.items()]
    words += ["--side_by_side=2", "--dry_run", "--json"]
    assert cli.run_main(ensemble.main, ensemble.COMMAND, [*words, f"--workdir={folder}"]) == 2
    assert "ensemble.seeds: this run was started with" in capsys.readouterr().err
    words[words.index("--config.ensemble.seeds=0:6")] = "--config.ensemble.seeds=0:4"
    assert cli.run_main(ensemble.main, ensemble.COMMAND, [*words, f"--workdir={folder}"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["num_members"], plan["members_left"], plan["groups"]) == (4, 0, [])
    assert sorted(folder.rglob("*")) == there

    new = folder.parent / "new"
    assert cli.run_main(ensemble.main, ensemble.COMMAND, [*words, f"--workdir={new}"]) == 0
    plan = json.loads(capsys.readouterr().out)
    (group,) = plan["groups"]
    assert (group["members"], group["side_by_side"], group["steps"]) == (4, 2, summary["final_step"])
    assert group["training_seconds"] == pytest.approx(2 * group["steps"] * group["seconds_per_step"])
    assert 4 * group["num_params"] == summary["num_params"] and plan["memory"]["total_bytes"] > 0
    assert not new.exists()
