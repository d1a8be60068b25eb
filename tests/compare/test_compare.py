"""Two small runs on one page: figures, differences, the test on the same images, pictures, refusals."""

import json
import re
import shutil
from pathlib import Path

import pytest

from mnist_jax import cli, train
from mnist_jax.compare.__main__ import COMMAND, main
from mnist_jax.compare.comparison import compare_runs, short_names
from mnist_jax.data import load_splits
from mnist_jax.metrics.mcnemar import mcnemar_exact
from mnist_jax.report.page import write_report
from mnist_jax.run.load import load
from tests.report.pages import browser, check_page, look_at, section, text_of

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("own_cache")
SMALL = [
    "--config.model.features=(2,3)",
    "--config.model.pool_after=(0,1)",
    "--config.model.dense_features=8",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that differ in the learning rate and the epochs."""
    folder = tmp_path_factory.mktemp("runs")
    for name, words in {
        "slow": ["--config.optim.learning_rate=0.01"],
        "long": ["--config.num_epochs=3"],
    }.items():
        workdir = str(folder / name)
        words = ["--config", str(ROOT / "configs" / "smoke.py"), "--workdir", workdir, *SMALL, *words]
        assert cli.run_main(train.main, train.COMMAND, words) == 0
    return folder


def compare(capsys, *words):
    assert cli.run_main(main, COMMAND, [str(word) for word in words]) == 0
    return capsys.readouterr().out


def change(path, function):
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


def test_the_page_has_the_figures_of_the_summaries_and_what_differs(runs, tmp_path, capsys):
    out = compare(capsys, runs / "slow", runs / "long", "--output", tmp_path / "page.html")
    assert out.splitlines()[-1] == str(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    check_page(page)
    assert "Not shown" not in page
    head = text_of(page[page.index("<header>") : page.index("</header>")])
    for letter, name in (("A", "slow"), ("B", "long")):
        summary = json.loads((runs / name / "summary.json").read_text())
        line = f"{letter} {name} {100 * summary['test_accuracy']:.2f}% {summary['test_errors']}"
        assert line in head
    settings = section(page, "settings")
    rows = [text_of(row) for row in re.findall(r"<tr>(.*?)</tr>", settings, re.DOTALL)[1:]]
    assert rows == ["num_epochs 1 3", "optim.learning_rate 0.01 0.02"]
    assert section(page, "curves").count("<svg") == 4
    with browser() as opened:
        assert {figures for _, figures in look_at(opened, tmp_path / "page.html")} == {4}


def test_the_test_counts_the_images_that_one_alone_has_right(runs, tmp_path, capsys):
    out = compare(capsys, runs / "slow", runs / "long", "--json", "--output", tmp_path / "page.html")
    answer = json.loads(out)
    assert answer["page"] == str(tmp_path / "page.html")
    test = load_splits("mnist_5k").test
    chosen = [load(runs / name, "latest").predict(test.images).argmax(axis=1) for name in ("slow", "long")]
    expected = mcnemar_exact(*(one == test.labels for one in chosen))
    (found,) = answer["tests"]
    assert (found["only_first_right"], found["only_second_right"]) == (
        expected.only_first,
        expected.only_second,
    )
    assert found["p_value"] == found["p_value_holm"] == pytest.approx(expected.p_value)
    assert answer["differences"] == {"num_epochs": [1, 3], "optim.learning_rate": [0.01, 0.02]}
    pictures = section((tmp_path / "page.html").read_text(), "pictures")
    differ = int((chosen[0] != chosen[1]).sum())
    assert f"differ on {differ:,}" in text_of(pictures)
    cards = re.findall(r"<figcaption>(.*?)</figcaption>", pictures, re.DOTALL)
    assert len(cards) == min(differ, 60)
    for card in map(text_of, cards):
        true, index, first, second = re.search(r"true (\d) · #(\d+) A (\d) ,.* B (\d) ,", card).groups()
        assert [int(true), int(first), int(second)] == [
            test.labels[int(index)],
            *(c[int(index)] for c in chosen),
        ]


def test_other_test_images_are_said_and_the_rest_is_compared(runs, tmp_path, capsys):
    other = shutil.copytree(runs / "long", tmp_path / "other")
    stand_in = {"test_sha256": "0" * 64, "is_fallback": True, "notice": "NOT the full MNIST"}
    change(other / "config.json", lambda content: content["run"]["dataset"].update(stand_in))
    out = compare(capsys, runs / "slow", other, "--output", tmp_path / "page.html")
    assert "A and B were measured on different test images (sha256 " in out and "McNemar's exact p" not in out
    page = (tmp_path / "page.html").read_text()
    check_page(page)
    assert "A and B were measured on different test images" in page
    header = text_of(page[page.index("<header>") : page.index("</header>")])
    assert header.startswith("other: not the data set that was asked for. NOT the full MNIST 2 runs compared")
    assert "the same test images for all" in text_of(section(page, "pictures"))
    assert section(page, "curves").count("<svg") == 4


def test_a_run_without_a_checkpoint_is_compared_by_its_files(runs, tmp_path):
    other = shutil.copytree(runs / "long", tmp_path / "long")
    shutil.rmtree(other / "checkpoints")
    found = compare_runs([str(runs / "slow"), str(other), str(runs / "long")])
    assert [(pair.first.letter, pair.second.letter) for pair in found.tests] == [("A", "C")]
    assert any("no answers of its own" in note for note in found.notes)
    assert found.runs[1].figures()["test_errors"] == found.runs[2].figures()["test_errors"]
    assert [run.name for run in found.runs] == [
        f"{folder.parent.name}/{folder.name}" for folder in (runs / "slow", other, runs / "long")
    ]


def test_the_answers_are_read_from_what_a_report_kept(runs, tmp_path, monkeypatch):
    from mnist_jax.run.load import LoadedModel

    reported = shutil.copytree(runs / "slow", tmp_path / "slow")
    (reported / "predictions.npz").unlink(missing_ok=True)
    write_report(reported)
    again = shutil.copytree(reported, tmp_path / "again")
    monkeypatch.setattr(LoadedModel, "predict", lambda *_: pytest.fail("asked again"))
    assert len(compare_runs([str(reported), str(again)]).tests) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["slow"], 2, "RUN: 1 given; expected the folders of two to 8 runs"),
        (["slow", "slow/../slow"], 2, "is given twice"),
        (["slow", "nowhere"], 1, "expected the folder of a run"),
        (["slow", "study"], 1, "is of kind study; expected runs or ensembles; two studies: "),
    ],
)
def test_what_cannot_be_compared_is_one_line(runs, tmp_path, capsys, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "study"
    study.mkdir()
    shutil.copy(runs / "slow" / "config.json", study)
    change(study / "config.json", lambda content: content["run"].update(kind="study"))
    paths = [str(study) if word == "study" else str(runs / word) for word in words]
    assert cli.run_main(main, COMMAND, paths) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "compare.html").exists()


def test_names_are_as_long_as_they_must_be():
    assert short_names([Path("/a/x"), Path("/a/y")]) == ["x", "y"]
    assert short_names([Path("/a/x"), Path("/b/x")]) == ["a/x", "b/x"]
