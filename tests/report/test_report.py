"""The report of a small real run: what it says, what it says when something is missing, and in a browser."""

import base64
import html
import io
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from mnist_jax import cli, train
from mnist_jax.data import load_splits
from mnist_jax.report import sections
from mnist_jax.report.__main__ import COMMAND, main
from mnist_jax.report.page import write_report
from mnist_jax.report.reproduce import extension_commands, first_configuration, train_command
from mnist_jax.run.load import load
from tests.report.pages import browser, check_page, look_at, section, text_of

ROOT = Path(__file__).parents[2]
SECTIONS = [
    "training",
    "classes",
    "calibration",
    "robustness",
    "mistakes",
    "hits",
    "augmentation",
    "filters",
    "activations",
    "config",
    "environment",
    "reproduce",
]
pytestmark = pytest.mark.usefixtures("own_cache")
SMALL = [
    "--config.data.train_examples=128",
    "--config.log_every_steps=2",
    "--config.model.features=(2,3,3,2)",
    "--config.model.dense_features=8",
    "--config.optim.ema_fraction=0.2",
    "--config.optim.label_smoothing=0.1",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, with its report; copy it to change it."""
    workdir = tmp_path_factory.mktemp("runs") / "small run"
    words = ["--config", str(ROOT / "configs" / "smoke.py"), "--workdir", str(workdir), *SMALL]
    assert cli.run_main(train.main, train.COMMAND, words) == 0
    write_report(workdir)
    return workdir


@pytest.fixture(scope="module")
def page(finished):
    return (finished / "report.html").read_text()


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are left empty: half of a report's time is Matplotlib's."""
    empty = '<svg viewBox="0 0 1 1"></svg>'
    drawn = "mnist_jax.report.inline.FigureCanvasSVG.print_svg"
    monkeypatch.setattr(drawn, lambda self, file, **_: file.write(empty))


def change(path, function):
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


def test_every_section_is_there_and_the_headline_is_that_of_the_summary(finished, page):
    assert re.findall(r'<section id="(\w+)">', page) == SECTIONS
    assert "Not shown" not in page and "notice" not in page.split("</style>")[1]
    summary = json.loads((finished / "summary.json").read_text())
    head = text_of(page[page.index("<header>") : page.index("<main>")])
    assert (
        f"{100 * summary['test_accuracy']:.2f}% of 1,000 test images right, {summary['test_errors']} wrong"
        in head
    )
    assert f"{summary['num_params']:,} trainable parameters" in head
    assert summary["versions"]["jax"] in section(page, "environment")


def test_the_file_is_well_formed_and_names_no_other_file_or_address(page):
    check_page(page)


def test_mistakes_and_hits_show_the_right_pictures_and_labels(finished, page):
    test = load_splits("mnist_5k").test
    predicted = load(finished, "latest").predict(test.images).argmax(axis=1)
    for name, is_right, words in (("mistakes", False, r"(?:says|:) (\d)"), ("hits", True, r"or (\d)")):
        part = section(page, name)
        cards = [text_of(card) for card in re.findall(r"<figcaption>(.*?)</figcaption>", part, re.DOTALL)]
        num_right = int((predicted == test.labels).sum())
        assert len(cards) == (24 if is_right else min(1000 - num_right, 24 + 300))
        pictures = re.findall(r'src="data:image/png;base64,([^"]*)" alt="test image', part)
        for card, picture in zip(cards, pictures, strict=True):
            index = int(re.search(r"#(\d+)", card)[1])
            assert (predicted[index] == test.labels[index]) == is_right
            assert re.search(r"(?:true |^)(\d)", card)[1] == str(test.labels[index])
            assert (re.search(words, card)[1] == str(predicted[index])) == (not is_right)
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGBA"))
            np.testing.assert_array_equal(shown[..., 3:], test.images[index])


def test_each_convolution_and_each_block_is_shown_for_the_chosen_digits(page):
    filters = section(page, "filters")
    assert re.findall(r"<figcaption><code>(\w+)</code>", filters) == [f"conv{i}" for i in range(4)]
    assert re.findall(r'alt="kernels of conv0 after epoch (\d)"', filters) == ["0", "1"]
    assert filters.count("<svg") == 2, "norms of weights and of gradients"
    activations = section(page, "activations")
    assert re.findall(r"<h3><code>(\w+)</code></h3>", activations) == [
        *(f"conv{i}" for i in range(4)),
        "dense",
    ]
    assert activations.count('class="sheet"') == 5 * 4
    assert section(page, "augmentation").count('alt="original"') == 8
    assert section(page, "augmentation").count('alt="augmented"') == 40


def test_variables_and_data_at_hand_give_the_same_report(finished, copy, page):
    shutil.rmtree(copy / "checkpoints")
    variables = load(finished, "latest").variables
    written = write_report(copy, splits=load_splits("mnist_5k"), variables=variables).read_text()
    assert [section(written, name) for name in SECTIONS[:-2]] == [
        section(page, name) for name in SECTIONS[:-2]
    ]


def test_without_a_checkpoint_the_report_has_what_the_files_tell(copy):
    shutil.rmtree(copy / "checkpoints")
    written = write_report(copy).read_text()
    missing = [name for name in SECTIONS if "Not shown: " in section(written, name)]
    assert missing == SECTIONS[2:9]
    assert "checkpoint" in text_of(section(written, "mistakes"))


def test_other_data_than_that_of_the_run_is_not_shown(copy, undrawn):
    change(copy / "config.json", lambda content: content["run"]["dataset"].update(test_sha256="0" * 64))
    assert "is not that of the run" in section(write_report(copy).read_text(), "mistakes")


def test_an_unfinished_run_says_so_and_has_its_classes_from_the_checkpoint(copy):
    (copy / "summary.json").unlink()
    written = write_report(copy).read_text()
    assert "Not finished" in written and "test accuracy" in text_of(written)
    assert "Not shown" not in written


def test_a_run_that_has_only_begun_is_reported_too(copy):
    for name in ("summary.json", "metrics.jsonl"):
        (copy / name).unlink()
    shutil.rmtree(copy / "checkpoints")
    written = write_report(copy).read_text()
    assert "No measurement has been written yet." in section(written, "training")
    assert "Not shown: " in section(written, "classes")


def test_the_notice_of_the_fallback_is_at_the_very_top(copy, undrawn):
    shutil.rmtree(copy / "checkpoints")
    notice = {"is_fallback": True, "notice": "MNIST could not be reached <today>"}
    change(copy / "config.json", lambda content: content["run"]["dataset"].update(notice))
    written = write_report(copy).read_text()
    body = text_of(written[written.index("<body>") :])
    assert body.startswith("Not the data set that was asked for. MNIST could not be reached <today>")


def test_names_are_text_never_markup(copy):
    shutil.rmtree(copy / "checkpoints")
    names = ["<b>bold</b>", '"quoted" & more', *map(str, range(8))]
    change(copy / "config.json", lambda content: content["run"].update(class_names=names))
    written = write_report(copy).read_text()
    assert "<b>bold" not in written and "<b>bold</b>" in text_of(section(written, "classes"))


def test_the_command_gives_the_very_configuration_back(finished):
    config = json.loads((finished / "config.json").read_text())
    del config["run"]
    words = shlex.split(train_command(config, "runs/a b"))
    assert words[:5] == ["python", "-m", "mnist_jax.train", "--config", "smoke"]
    arguments = cli.parse(train.COMMAND, words[3:])
    assert json.loads(arguments.config.to_json()) == config
    assert arguments["workdir"] == "runs/a b"


def test_an_extended_run_is_made_again_by_a_command_for_each_part(finished):
    config = json.loads((finished / "config.json").read_text())
    run, epochs = config.pop("run"), config["num_epochs"]
    before = {"num_epochs": epochs, "optim.schedule": config["optim"]["schedule"]}
    longer = {**config, "num_epochs": epochs + 2, "optim": {**config["optim"], "schedule": "one_cycle"}}
    run["extensions"] = [{"after_epochs": epochs, "after_step": 20, "before": before}]
    assert first_configuration(longer, run) == config
    assert extension_commands(longer, run, "runs/a b") == [
        f"python -m mnist_jax.train --workdir 'runs/a b' --extend {epochs + 2} "
        "--config.optim.schedule=one_cycle"
    ]


def test_the_losses_measured_alike_are_those_of_the_network(finished, page):
    rows = re.findall(r"<tr>(.*?)</tr>", section(page, "training"), re.DOTALL)[1:]
    model, data = load(finished, "latest"), load_splits("mnist_5k")
    for row, name, images, labels in (
        (rows[0], "training", data.train.images[:128], data.train.labels[:128]),
        (rows[1], "test", data.test.images, data.test.labels),
    ):
        probabilities = model.predict(images)
        loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
        right = (probabilities.argmax(axis=1) == labels).mean()
        assert text_of(row) == f"{name} {len(labels):,} {loss:.4f} {100 * right:.2f}%"


def test_answers_left_out_are_counted_and_no_temperature_is_fitted_to_test(finished, page):
    part = section(page, "calibration")
    assert "No temperature is fitted" in part
    rows = [text_of(row).split() for row in re.findall(r"<tr>(.*?)</tr>", part, re.DOTALL)[1:]]
    assert [row[:2] for row in rows] == [["100%", "1,000"], ["99%", "990"], ["98%", "980"], ["95%", "950"]]
    summary = json.loads((finished / "summary.json").read_text())
    assert int(rows[0][2]) == summary["test_errors"]
    assert all(int(row[2]) >= int(below[2]) for row, below in itertools.pairwise(rows))


def test_images_are_turned_scaled_and_shifted_beside_what_training_drew(finished, page):
    part = section(page, "robustness")
    assert "of 250 test images" in text_of(part) and "Shaded is how far training changed" in text_of(part)
    assert re.findall(r'aria-label="([^"]*)"', part) == [
        f"Share of right answers by {kind}" for kind in ("rotation", "size", "shift")
    ]


def test_the_temperature_is_fitted_on_the_images_held_out():
    logits = np.random.default_rng(0).normal(0, 2, (2000, 3))
    labels = (np.random.default_rng(1).random((2000, 1)) > np.cumsum(softmax(logits / 2, 1), 1)).sum(axis=1)
    half = softmax(logits, axis=1)[:1000]
    splits = SimpleNamespace(test=SimpleNamespace(labels=labels[:1000]))
    model = SimpleNamespace(config=SimpleNamespace(optim=SimpleNamespace(label_smoothing=0.0)))
    held_out = softmax(logits, axis=1)[1000:], labels[1000:]
    found = sections.calibration(
        SimpleNamespace(probabilities=half, splits=splits, model=model, validation=held_out)
    )
    assert found["temperature"]["images"] == "1,000"
    assert 1.6 < float(found["temperature"]["value"]) < 2.4
    assert float(found["temperature"]["error"]) < float(found["error"]) / 2


def test_precision_recall_and_the_pairs_are_those_of_the_confusion_matrix(finished, page):
    confusion = np.array(json.loads((finished / "summary.json").read_text())["confusion_matrix"])
    part = section(page, "classes")
    rows = re.findall(r"<tr>(.*?)</tr>", part[part.index("<tbody>") :], re.DOTALL)
    assert len(rows) == 11
    for label, row in enumerate(rows[:10]):
        words = text_of(row).split()
        assert words[:3] == [
            str(label),
            str(confusion[label].sum()),
            str(confusion[label].sum() - confusion[label, label]),
        ]
        assert words[3] == f"{100 * confusion[label, label] / confusion[label].sum():.2f}"
        predicted = confusion[:, label].sum()
        assert words[4] == (f"{100 * confusion[label, label] / predicted:.2f}" if predicted else "\u2013")
    pairs = re.findall(r'<div class="pair"><p>(.*?)</p>(.*?)</div></div>\n</div>', part, re.DOTALL)
    shown = re.findall(r'<div class="pair">', part)
    assert len(shown) == 8 and pairs is not None
    for text in re.findall(r'<div class="pair"><p>(.*?)</p>', part, re.DOTALL):
        true, predicted, count, total = map(int, re.findall(r"\d+", text_of(text)))
        assert confusion[true, predicted] == count and confusion[true].sum() == total
        alt = f"true {true}, predicted {predicted}"
        assert part.count(alt) == min(count, 12)


def test_a_second_report_reads_what_the_network_said_before(finished, copy, page, monkeypatch):
    from mnist_jax.run.load import LoadedModel

    assert (copy / "predictions.npz").exists()
    monkeypatch.setattr(LoadedModel, "predict", lambda *_: pytest.fail("asked again"))
    written = write_report(copy).read_text()
    assert section(written, "mistakes") == section(page, "mistakes")
    assert section(written, "training") == section(page, "training")


@pytest.mark.parametrize("damage", ["cut", "of another network"])
def test_predictions_that_are_damaged_or_not_its_own_are_made_again(copy, page, undrawn, damage):
    path = copy / "predictions.npz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        with np.load(path) as file:
            np.savez(
                path, **{**file, "key": np.array("0" * 64), "probabilities": file["probabilities"][:, ::-1]}
            )
    assert section(write_report(copy).read_text(), "hits") == section(page, "hits")


def test_without_what_the_run_kept_of_its_epochs_the_page_says_so(copy):
    (copy / "epochs.npz").unlink()
    part = section(write_report(copy).read_text(), "filters")
    assert "This run has no epochs.npz" in part and "<svg" not in part


def test_gray_pictures_that_are_no_ink_are_drawn_as_they_are(copy, undrawn):
    def as_photographs(content):
        content["run"]["dataset"]["preparation"]["form"] = "resized"

    change(copy / "config.json", as_photographs)
    part = section(write_report(copy).read_text(), "hits")
    assert 'class="picture gray"' not in part
    index = int(re.search(r"#(\d+)", text_of(part))[1])
    picture = re.search(r'src="data:image/png;base64,([^"]*)"', part)[1]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGBA"))
    np.testing.assert_array_equal(shown[..., :1], load_splits("mnist_5k").test.images[index])
    assert (shown[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["more"], 2, "DIR: 2 given; expected one folder"),
        (["--images=3,1000"], 1, "no test image 1000; expected numbers below 1000"),
        (["--images=3,x"], 2, "expected up to eight whole numbers"),
        (["--data_dir=nowhere"], 1, "nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(finished, capsys, words, code, message):
    before = (finished / "report.html").read_bytes()
    assert cli.run_main(main, COMMAND, ["--workdir", str(finished), *words]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert (finished / "report.html").read_bytes() == before


def test_a_report_has_class_names_of_any_kind(copy):
    script = "</script><script>alert(1)</script>"
    names = ["$\\foo$", "a <b>x</b> & y", "\u4e09", "z\udce9ro", script, 1000 * "x", "\0\u202e\nend", *"789"]
    config = json.loads((copy / "config.json").read_text())
    config["run"]["class_names"] = names
    (copy / "config.json").write_text(json.dumps(config))
    written = write_report(copy).read_text("utf-8")
    assert script not in written
    for name in (*names[:3], "z\\udce9ro", script, names[5]):
        assert name in html.unescape(written)


@pytest.mark.parametrize(
    "backend", ["module://no_such_backend.inline", pytest.param("nonsense", marks=pytest.mark.slow)]
)
def test_a_backend_that_is_not_installed_does_not_matter(copy, backend):
    shutil.rmtree(copy / "checkpoints")
    (copy / "report.html").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "mnist_jax.report", "--workdir", str(copy)],
        env={**os.environ, "MPLBACKEND": backend},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout, done.stderr, done.returncode) == (f"{copy / 'report.html'}\n", "", 0)
    assert "<svg" in (copy / "report.html").read_text()


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert cli.run_main(main, COMMAND, ["--workdir", str(tmp_path)]) == 1
    assert "expected the folder of a run" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_prints_where_the_report_is_and_shows_the_images_asked_for(copy, undrawn, capsys):
    assert cli.run_main(main, COMMAND, ["--workdir", str(copy), "--images=7,7,12"]) == 0
    assert capsys.readouterr().out == f"{copy / 'report.html'}\n"
    captions = re.findall(r"#(\d+)</figcaption>", section((copy / "report.html").read_text(), "activations"))
    assert captions == ["7", "7", "12"]


@pytest.fixture(scope="module")
def browser_page():
    with browser() as opened:
        yield opened


def test_in_a_browser_it_is_complete_quiet_and_fits(finished, browser_page):
    for pictures, figures in look_at(browser_page, finished / "report.html"):
        assert pictures > 100 and figures == 13


def test_it_prints(finished, browser_page):
    browser_page.open((finished / "report.html").as_uri())
    pdf = base64.b64decode(browser_page.call("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert pdf.startswith(b"%PDF") and 4 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 14


def test_a_folder_with_a_name_of_any_kind_is_one_word_of_the_commands(copy, undrawn, tmp_path):
    shutil.rmtree(copy / "checkpoints")
    change(copy / "summary.json", lambda content: content.update(git_commit="main; touch PWN"))
    folder = copy.rename(tmp_path / "x; touch PWN\n")
    written = text_of(section(write_report(folder).read_text(), "reproduce"))
    assert "git checkout" not in written
    word = "$'runs/x; touch PWN\\012-again'"
    for name in ("train", "evaluate", "report"):
        (command,) = re.findall(rf"python -m mnist_jax\.{name} .*?--workdir (.{{{len(word)}}})", written)
        assert command == word


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("summary.json", "confusion_matrix", [[1, 2]]),
        ("summary.json", "test_loss", "small"),
        ("summary.json", "versions", [1]),
        ("config.json", "run", {}),
        ("config.json", "augment", 3),
    ],
)
def test_files_of_other_types_are_one_line(copy, capsys, file, field, value):
    change(copy / file, lambda content: content.update({field: value}))
    assert cli.run_main(main, COMMAND, ["--workdir", str(copy)]) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "--debug" not in error
