"""Pictures of every kind and from everywhere are answered, and what cannot be read is told, not fatal."""

import dataclasses
import functools
import io
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_jax import cli, predict
from mnist_jax.data.pictures import read as pictures
from mnist_jax.data.pictures import worker
from mnist_jax.data.pictures.doubt import DEFAULT_THRESHOLD
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.read import Picture, read_pictures, split_array
from mnist_jax.errors import DataError
from mnist_jax.runtime.regular_file import read_named
from tests.data.pictures.harmful import many_scans

SHAPE = (28, 28, 1)
MNIST = Preparation.of_data_set("mnist", SHAPE)


@pytest.fixture(scope="session")
def digits(small_model):
    """30 test digits that the network is sure of, uint8 [30, 28, 28]."""
    from mnist_jax.data import load_splits

    images = load_splits("mnist_5k").test.images[..., 0]
    return images[small_model.predict(images).max(axis=1) > 0.9][:30]


@pytest.fixture
def run_predict(small_run, small_model, capsys, monkeypatch):
    """Gives `run(*words)`: exit code, what --json printed (or the lines of the table), and stderr."""
    # Loaded once for all tests; test_standard_input loads it for itself.
    monkeypatch.setattr("mnist_jax.run.load.load", lambda workdir, checkpoint: small_model)

    def run(*words):
        code = cli.run_main(predict.main, predict.COMMAND, [f"--workdir={small_run}", *map(os.fspath, words)])
        out, err = capsys.readouterr()
        return code, json.loads(out) if "--json" in words else out.splitlines(), err

    return run


def save(
    folder: Path, digits, change=lambda digit: Image.fromarray(digit), suffix=".png", **options
) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:02d}{suffix}" for number in range(len(digits))]
    for path, digit in zip(paths, digits, strict=True):
        change(digit).save(path, **options)
    return paths


def read(*arguments, standard_input=None) -> list[Picture]:
    preparation = Preparation.of_data_set("mnist", SHAPE)
    return list(read_pictures([os.fspath(a) for a in arguments], preparation, standard_input))


# --- The command ---


def test_files_are_answered_as_the_model_answers(run_predict, small_model, digits, tmp_path):
    expected = small_model.predict(digits)
    paths = save(tmp_path / "plain", digits)
    code, rows, err = run_predict(*paths, "--json")
    assert (code, err) == (0, "")
    assert [row["file"] for row in rows] == list(map(str, paths))
    np.testing.assert_allclose([row["probabilities"] for row in rows], expected, atol=1e-6)
    assert [row["label"] for row in rows] == expected.argmax(axis=1).tolist()
    for row in rows:
        assert set(row) == {"file", "label", "probability", "probabilities", "unsure", "reason"}
        assert (row["unsure"], row["reason"]) == (False, "")
        assert isinstance(row["label"], int)
        assert row["probability"] == max(row["probabilities"])


def inverted(digit):
    return Image.fromarray(255 - digit)


def on_a_large_sheet(digit):
    sheet = Image.new("L", (300, 200), 255)
    sheet.paste(inverted(digit).resize((140, 140)), (100, 30))
    return sheet


def transparent(digit):
    ink = np.zeros_like(digit)
    return Image.fromarray(np.stack([ink, ink, ink, digit], axis=-1))


@pytest.mark.parametrize(
    ("change", "suffix", "options"),
    [
        (inverted, ".png", {}),
        (on_a_large_sheet, ".png", {}),
        (transparent, ".png", {}),
        (transparent, ".tiff", {}),
        (inverted, ".jpg", {"quality": 75}),
        (inverted, ".webp", {"quality": 75}),
        (on_a_large_sheet, ".gif", {}),
    ],
)
def test_disguises_change_few_answers(run_predict, digits, tmp_path, change, suffix, options):
    _, plain, _ = run_predict(save(tmp_path / "plain", digits)[0].parent, "--json")
    _, rows, _ = run_predict(save(tmp_path / "other", digits, change, suffix, **options)[0].parent, "--json")
    same = [row["label"] == other["label"] for row, other in zip(plain, rows, strict=True)]
    assert sum(same) >= 27


def test_what_cannot_be_read_is_told_and_the_others_are_answered(run_predict, digits, tmp_path):
    (good,) = save(tmp_path, digits[:1])
    bad, empty, missing = tmp_path / "bad.png", tmp_path / "empty.png", tmp_path / "missing.png"
    bad.write_bytes(good.read_bytes()[:60])
    empty.touch()
    code, rows, err = run_predict(bad, good, missing, empty, "--json")
    assert (code, err) == (1, "")
    assert ["error" in row for row in rows] == [True, False, True, True]
    assert rows[2] == {"file": str(missing), "error": "cannot be read (No such file or directory)"}
    assert all(
        set(row) == {"file", "error"} and str(tmp_path) not in row["error"] for row in (rows[0], rows[3])
    )

    code, lines, err = run_predict(bad, good, missing, empty)
    assert code == 1
    assert len(lines) == 2
    assert lines[1].startswith(str(good))
    assert [line.split(": ")[:2] for line in err.splitlines()] == [
        ["error", str(path)] for path in (bad, missing, empty)
    ]


def test_nothing_but_faults_is_still_told(run_predict, tmp_path):
    assert run_predict(tmp_path / "no.png", "--json")[:2] == (
        1,
        [{"file": str(tmp_path / "no.png"), "error": "cannot be read (No such file or directory)"}],
    )


def test_without_a_picture_the_usage_is_wrong(run_predict):
    code, lines, err = run_predict()
    assert (code, lines) == (2, [])
    assert err == "error: IMAGE: is missing; give picture files, folders, or - for standard input\n"


def test_top_lists_the_likeliest(run_predict, digits, tmp_path):
    (path,) = save(tmp_path, digits[:1])
    _, (row,), _ = run_predict(path, "--json", "--top=3")
    ranked = sorted(row["probabilities"], reverse=True)
    assert [guess["probability"] for guess in row["top"]] == ranked[:3]
    assert row["top"][0] == {"label": row["label"], "probability": row["probability"]}
    _, (row,), _ = run_predict(path, "--json", "--top", "99")
    assert sorted(guess["label"] for guess in row["top"]) == list(range(10))
    _, lines, _ = run_predict(path, "--top=4")
    assert lines[1].count("%") == 4


def test_unsure_answers_and_what_is_no_digit_are_told(run_predict, digits, tmp_path):
    sure, several, blank = save(tmp_path, [digits[0], np.hstack([digits[0], digits[0]]), 0 * digits[0]])
    code, rows, _ = run_predict(sure, several, "--json", "--threshold=0")
    assert code == 0
    assert [(row["unsure"], row["reason"]) for row in rows] == [(False, ""), (True, "no single digit")]
    assert all(len(row["probabilities"]) == 10 for row in rows)
    code, lines, _ = run_predict(sure, several)
    assert code == 0
    assert lines[1].endswith("%") and lines[2] == f"{several}  no single digit"

    code, (row,), _ = run_predict(sure, "--json", "--threshold", "1")
    first, second = np.argsort(row["probabilities"])[-2:][::-1]
    assert code == 0 and row["reason"] == f"unsure: {first} or {second}?"
    _, lines, _ = run_predict(sure, "--threshold=1", "--top=2")
    assert lines[1].count("%") == 2 and f"  {row['reason']}    {first} " in lines[1]

    code, (row,), _ = run_predict(blank, "--json")
    assert code == 1 and "blank" in row["error"] and "unsure" not in row


def test_a_table_of_answers_has_a_label_for_each_picture_however_unsure(run_predict, digits, tmp_path):
    (several,) = save(tmp_path, [np.hstack([digits[0], digits[0]])])
    code, _, _ = run_predict(several, "--threshold=1", f"--csv={tmp_path / 'answers.csv'}")
    assert code == 0
    assert (tmp_path / "answers.csv").read_text().splitlines()[1] in [f"1,{label}" for label in range(10)]


@pytest.mark.parametrize("threshold", ["-0.1", "1.1", "nan", "much"])
def test_a_threshold_is_a_probability(run_predict, tmp_path, threshold):
    code, _, err = run_predict(tmp_path / "x.png", f"--threshold={threshold}")
    assert code == 2 and "threshold" in err and len(err.splitlines()) == 1


def test_the_default_threshold_is_that_of_the_rule():
    (flag,) = (flag for flag in predict.COMMAND.flags if flag.name == "threshold")
    assert flag.default == DEFAULT_THRESHOLD


def test_show_prints_what_the_network_was_given(run_predict, digits, tmp_path):
    (path,) = save(tmp_path, digits[:1])
    code, lines, err = run_predict(path, "--show")
    assert (code, err) == (0, "")
    drawing = lines[2:30]
    assert all(len(line) == 56 for line in drawing)
    assert [[line[i : i + 2] != "  " for i in range(0, 56, 2)] for line in drawing] == (
        digits[0] >= 52
    ).tolist()
    # JSON stays JSON.
    _, rows, err = run_predict(path, "--show", "--json")
    assert len(rows) == 1
    assert "█" in err


def test_steps_are_written_beside_the_answers(run_predict, digits, tmp_path):
    first, second, blank = save(tmp_path / "in", [digits[0], np.pad(digits[1], 20), 0 * digits[0]])
    (tmp_path / "in" / "03.png").write_bytes(b"nothing")
    _, expected, _ = run_predict(tmp_path / "in", "--json")
    code, rows, err = run_predict(tmp_path / "in", "--json", f"--steps={tmp_path / 'new' / 'out'}")
    assert (code, rows, err) == (1, expected, "")
    widths = {}
    for path in (tmp_path / "new" / "out").iterdir():
        with Image.open(path) as sheet:
            widths[path.name] = sheet.width
    # What was taken as it is, what was brought to MNIST's form, and what turned out to be blank.
    assert list(sorted(widths)) == ["00.steps.png", "01.steps.png", "02.steps.png"]
    assert widths["00.steps.png"] < widths["01.steps.png"]

    code, lines, err = run_predict(first, f"--steps={tmp_path / 'one.png'}")
    assert (code, err, len(lines)) == (0, "", 2) and (tmp_path / "one.png").read_bytes()[1:4] == b"PNG"


def test_steps_of_many_pictures_are_those_of_the_first(run_predict, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "_MOST_SHEETS", 2)
    np.save(tmp_path / "digits.npy", digits[:3])
    code, lines, err = run_predict(tmp_path / "digits.npy", f"--steps={tmp_path / 'out'}")
    assert (code, len(lines)) == (0, 4)
    assert err == "steps: of the first 2 of 3 pictures alone\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "digits_0.steps.png",
        "digits_1.steps.png",
    ]


def test_steps_that_cannot_be_written_lose_no_answers(run_predict, digits, tmp_path):
    first, second = save(tmp_path / "in", digits[:2])
    file = tmp_path / "file"
    file.write_text("mine")
    for words, message in (
        ([f"--steps={file}"], f"error: steps: {file} is a file; expected a folder, or a file named .png"),
        ([f"--steps={first}"], f"error: steps: {first} is one of the inputs; expected another file"),
    ):
        code, lines, err = run_predict(first, second, *words)
        assert (code, lines) == (2, []) and err.startswith(message) and len(err.splitlines()) == 1
    for path, code, message in (
        (tmp_path / "all.png", 2, "is one file for 2 pictures; expected a folder"),
        (file / "deeper", 1, "cannot be made (Not a directory)"),
    ):
        found, lines, err = run_predict(first, second, f"--steps={path}")
        assert (found, len(lines)) == (code, 3)
        assert err.startswith("error: ") and message in err and len(err.splitlines()) == 1
    assert file.read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


def test_standard_input(small_run, digits, tmp_path):
    import subprocess
    import sys

    (path,) = save(tmp_path, digits[:1])
    words = [sys.executable, "-m", "mnist_jax.predict", "--workdir", os.fspath(small_run), "-", "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, input=path.read_bytes(), capture_output=True, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    (row,) = json.loads(done.stdout)
    assert row["file"] == "-"
    assert len(row["probabilities"]) == 10


# --- Gathering ---


def test_a_folder_gives_its_pictures_by_name(digits, tmp_path):
    save(tmp_path, digits[:3])
    np.save(tmp_path / "01b.npy", digits[3])
    for other in ("notes.txt", ".hidden.png", "Thumbs.db"):
        (tmp_path / other).write_text("x")
    save(tmp_path / "deeper.png", digits[:1])
    found = read(tmp_path)
    assert [Path(picture.file).name for picture in found] == ["00.png", "01.png", "01b.npy", "02.png"]
    for picture, number in zip(found, (0, 1, 3, 2), strict=True):
        np.testing.assert_array_equal(picture.image[..., 0], digits[number])


def test_a_folder_without_pictures_is_a_fault(tmp_path):
    (picture,) = read(tmp_path)
    assert picture.file == str(tmp_path)
    assert picture.error.startswith("no pictures in this folder")


@pytest.mark.parametrize(
    "make",
    [
        lambda d: d,
        lambda d: d[..., None],
        lambda d: d.astype(np.float32) / 255,
        lambda d: d.astype(np.float64),
        lambda d: d.astype(np.int64),
        lambda d: np.repeat(d[..., None], 3, axis=-1),
    ],
)
def test_arrays_of_one_and_of_many(digits, tmp_path, make):
    path = tmp_path / "digits.npy"
    np.save(path, make(digits[:3]))
    found = read(path)
    assert [(picture.file, picture.index) for picture in found] == [(str(path), i) for i in range(3)]
    np.testing.assert_allclose([picture.image[..., 0] for picture in found], digits[:3], atol=1)
    np.save(path, make(digits[0]))
    (picture,) = read(path)
    assert picture.index is None
    np.testing.assert_allclose(picture.image[..., 0], digits[0], atol=1)


def test_one_blank_picture_of_an_array_does_not_harm_the_others(digits, tmp_path, run_predict):
    path = tmp_path / "digits.npy"
    np.save(path, np.stack([digits[0], np.zeros_like(digits[0]), digits[1]]))
    code, rows, _ = run_predict(path, "--json")
    assert code == 1
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert "blank" in rows[1]["error"]
    assert run_predict(path)[1][2].startswith(f"{path}[2] ")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(784), "shape"),
        (np.zeros((2, 28, 28, 2)), "shape"),
        (np.zeros((0, 28, 28)), "shape"),
        (np.full((28, 28), 256), "from 256 to 256"),
        (np.full((28, 28), -0.5), "from -0.5"),
        (np.full((28, 28), np.nan), "nan"),
        (np.full((28, 28), "x"), "type"),
        (np.zeros((28, 28), complex), "type"),
    ],
)
def test_other_arrays_are_refused(array, message):
    with pytest.raises(DataError, match=message):
        split_array(array)


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (9999999, 9999999), }",
        b"\x93NUMPY\x01\x00\x06\x00(1,2)\n",
    ],
)
@pytest.mark.parametrize("piped", [False, True])
def test_damaged_arrays_are_told(content, piped, tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(content.ljust(128))
    (picture,) = read("-", standard_input=io.BytesIO(path.read_bytes()).read) if piped else read(path)
    assert ".npy file" in picture.error
    assert "\n" not in picture.error


def test_pickled_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object))
    (picture,) = read(tmp_path / "x.npy")
    assert "damaged .npy" in picture.error


def test_pipes_are_read_and_bounded(digits, tmp_path, monkeypatch):
    (path,) = save(tmp_path, digits[:1])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for limit, is_answered in ((10**6, True), (10, False)):
        monkeypatch.setattr(pictures, "MAX_PICTURE_BYTES", limit)
        writer = threading.Thread(target=pipe.write_bytes, args=(path.read_bytes(),))
        writer.start()
        (picture,) = read(pipe)
        writer.join()
        assert (picture.image is not None) == is_answered
        assert is_answered or "larger than the 10 bytes accepted" in picture.error


def test_standard_input_that_is_closed_or_used_up(digits, tmp_path):
    (picture,) = read("-")
    assert picture.error == "standard input is closed"
    file = io.BytesIO(save(tmp_path, digits[:1])[0].read_bytes())
    first, second = read("-", "-", standard_input=file.read)
    assert first.image is not None
    assert second.error.startswith("empty")


# --- What is printed ---


def test_labels_are_numbers_for_digits_and_names_otherwise():
    assert predict.class_labels(tuple("0123456789")) == list(range(10))
    assert predict.class_labels(("0", "1", "A")) == ["0", "1", "A"]
    row = predict.describe(Picture("x.png"), ["cat", "dog"], np.array([0.25, 0.75], np.float32), top=2)
    assert row == {
        "file": "x.png",
        "label": "dog",
        "probability": 0.75,
        "probabilities": [0.25, 0.75],
        "unsure": False,
        "reason": "",
        "top": [{"label": "dog", "probability": 0.75}, {"label": "cat", "probability": 0.25}],
    }


def test_large_pictures_are_thinned_out_to_fit():
    lines = predict.block_picture(np.full((200, 200, 3), 255, np.uint8))
    assert len(lines) == 50
    assert set(lines) == {"█" * 100}


def test_file_names_cannot_move_the_cursor(run_predict, digits, tmp_path):
    (path,) = save(tmp_path, digits[:1])
    odd = path.rename(tmp_path / "\x1b[2J\n\udcff.png")
    code, lines, _ = run_predict(odd)
    assert code == 0
    assert lines[1].startswith(f"{tmp_path}/\\x1b[2J\\n\\udcff.png")
    assert run_predict(odd, "--json")[1][0]["file"] == str(odd)


# --- The file to hand in ---


def test_a_table_of_answers_is_written(run_predict, small_model, digits, tmp_path):
    paths = save(tmp_path / "plain", digits[:3])
    code, lines, err = run_predict(*paths, f"--csv={tmp_path / 'answers.csv'}")
    assert (code, err, lines) == (0, "", [f"{tmp_path / 'answers.csv'}: 3 answers"])
    labels = small_model.predict(digits[:3]).argmax(axis=1)
    expected = ["ImageId,Label", *(f"{number},{label}" for number, label in enumerate(labels, start=1))]
    assert (tmp_path / "answers.csv").read_text().splitlines() == expected


def test_rows_of_a_table_are_answered_as_pictures_are(run_predict, digits, tmp_path):
    table = tmp_path / "test.csv"
    names = ",".join(f"pixel{i}" for i in range(784))
    np.savetxt(table, digits[:4].reshape(4, -1), "%d", ",", header=names, comments="")
    code, rows, _ = run_predict(table, "--json")
    assert code == 0
    _, expected, _ = run_predict(*save(tmp_path / "plain", digits[:4]), "--json")
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert [row["probabilities"] for row in rows] == [row["probabilities"] for row in expected]


def test_a_table_of_answers_is_whole_or_not_written_and_never_an_input(run_predict, digits, tmp_path):
    (good,) = save(tmp_path, digits[:1])
    answers = tmp_path / "answers.csv"
    code, _, err = run_predict(good, tmp_path / "none.png", f"--csv={answers}")
    assert code == 1
    assert "none.png: cannot be read (No such file or directory)" in err and "is not written" in err
    assert not answers.exists()
    code, _, err = run_predict(good, f"--csv={good}")
    assert code == 2 and "is one of the inputs" in err
    assert good.stat().st_size > 100
    code, _, err = run_predict(good, f"--csv={tmp_path / 'nowhere' / 'answers.csv'}")
    assert code == 1 and "cannot write" in err


def test_wrong_tables_are_told(run_predict, tmp_path):
    table = tmp_path / "test.csv"
    table.write_text(",".join(f"pixel{i}" for i in range(51)) + "\n")
    code, (row,), _ = run_predict(table, "--json")
    assert code == 1 and "51 columns of pixels; expected a square number" in row["error"]


# --- Files that are made to harm ---


def test_a_file_that_fails_while_it_is_read_loses_no_other_answer(run_predict, digits, tmp_path, monkeypatch):
    paths = save(tmp_path, digits[:3])

    def fail(path, max_bytes):
        if path == str(paths[1]):
            raise OSError(5, "Input/output error")
        return read_named(path, max_bytes)

    monkeypatch.setattr(pictures, "read_named", fail)
    code, rows, _ = run_predict(*paths, "--json")
    assert code == 1
    assert [row.get("error", "") for row in rows] == ["", "cannot be read (Input/output error)", ""]


def test_pictures_that_ask_for_too_much_lose_no_other_answer(run_predict, digits, tmp_path, monkeypatch):
    short = worker.PictureWorker(1, 2**28)
    monkeypatch.setattr(worker, "shared_worker", lambda: short)
    (good,) = save(tmp_path, digits[:1])
    (tmp_path / "scans.jpg").write_bytes(many_scans())
    code, rows, _ = run_predict(tmp_path / "scans.jpg", good, "--json")
    assert code == 1
    assert [row.get("error", "") for row in rows] == ["takes more than the 1 seconds accepted to decode", ""]
    short.close()


def test_what_is_no_file_or_is_gone_loses_no_other_answer(digits, tmp_path, monkeypatch):
    folder = tmp_path / "pictures"
    save(folder, digits[:2])
    os.mkfifo(folder / "03.png")
    (folder / "04.png").symlink_to("04.png")
    (folder / "05.npy").symlink_to("/dev/zero")
    os.mkfifo(folder / "06.csv")
    with open(folder / "07.png", "wb") as file:
        file.truncate(2**40)
    monkeypatch.setattr(pictures, "read_named", functools.partial(read_named, pipe_seconds=0.01))
    listing = read_pictures([os.fspath(folder), *map(os.fspath, folder.glob("0[36].*")), "/dev/zero"], MNIST)
    first = next(listing)
    # It goes between the listing and the reading.
    (folder / "01.png").unlink()
    rest = list(listing)
    assert first.image is not None
    assert [Path(picture.file).name for picture in rest] == [
        *("01.png", "03.png", "04.png", "05.npy", "07.png"),
        *("03.png", "06.csv", "zero"),
    ]
    no_file = "cannot be read (it is not a regular file)"
    assert [picture.error for picture in rest[:6]] == [
        "cannot be read (No such file or directory)",
        no_file,
        "cannot be read (Too many levels of symbolic links)",
        no_file,
        "cannot be read (it is larger than the 536,870,912 bytes accepted)",
        "cannot be read (nothing came through this pipe for 0.01 seconds)",
    ]
    assert "it is not a regular file" in rest[6].error and rest[7].error == no_file


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1180591620717411303424,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': " + "(" * 900 + ")" * 900 + "}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2350000, 1000)}",
    ],
    ids=["2^70", "nested", "2.35 GB"],
)
def test_arrays_that_promise_too_much_are_told(tmp_path, header):
    with open(tmp_path / "a.npy", "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
        if "2350000" in header:
            file.truncate(file.tell() + 2_350_000_000)
    (picture,) = read(tmp_path / "a.npy")
    assert picture.image is None and picture.error and "\n" not in picture.error


# --- Pages of digits ---


def page_of(*lines):
    """Digits side by side on a white sheet, a row of them a line."""
    rows = [np.hstack([np.pad(digit, 6) for digit in line]) for line in lines]
    width = max(row.shape[1] for row in rows)
    sheet = np.vstack([np.pad(row, ((10, 10), (20, 20 + width - row.shape[1]))) for row in rows])
    large = Image.fromarray(255 - sheet)
    return large.resize((3 * large.width, 3 * large.height), Image.Resampling.BICUBIC)


def test_pages_are_read_line_by_line(run_predict, small_model, digits, tmp_path):
    page, blank = tmp_path / "page.png", tmp_path / "blank.png"
    page_of(digits[:5], digits[5:8]).save(page)
    Image.new("L", (300, 300), 255).save(blank)
    labels = small_model.predict(digits[:8]).argmax(axis=1).tolist()
    code, rows, err = run_predict("--multi", page, blank, "--json", f"--boxes={tmp_path / 'out'}")
    assert (code, err) == (1, "")
    assert rows[1] == {
        "file": str(blank),
        "error": "the picture is blank: nothing in it stands out from its background",
    }
    found = rows[0]["digits"]
    assert [(digit["line"], digit["place"]) for digit in found] == [
        *((0, place) for place in range(5)),
        *((1, place) for place in range(3)),
    ]
    # Thick strokes of the enlarged digits may be told otherwise.
    assert sum(digit["label"] == label for digit, label in zip(found, labels, strict=True)) >= 6
    for number, digit in enumerate(found):
        left = 3 * (20 + 6 + 40 * digit["place"])
        assert left <= digit["box"][1] < digit["box"][3] <= left + 3 * 28, number
    assert [len(line) for line in rows[0]["text"]] == [5, 3]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["page.boxes.png"]

    code, lines, err = run_predict("--multi", page, blank)
    assert code == 1 and err.startswith(f"error: {blank}: the picture is blank")
    assert [line.split()[:2] for line in lines] == [[str(page), text] for text in rows[0]["text"]]


def test_pages_from_the_process_that_decodes_are_the_same(digits, monkeypatch):
    content = io.BytesIO()
    page_of(digits[:4]).save(content, "PNG")
    here_steps, there_steps = [], []
    here = worker.shared_worker().find_digits(content.getvalue(), here_steps)
    with worker.PictureWorker(is_for_all=True) as other:
        there = other.find_digits(content.getvalue(), there_steps)
        np.testing.assert_array_equal(other.find_digits(content.getvalue()).gray, here.gray)
        with pytest.raises(DataError, match="not a picture"):
            other.find_digits(b"nothing")
    assert there.shape == here.shape and len(there.groups) == len(here.groups) == 4
    np.testing.assert_array_equal(there.gray, here.gray)
    for ours, theirs in zip(here.groups, there.groups, strict=True):
        assert ours.cut_ink == theirs.cut_ink
        assert [part[:3] for part in ours.parts] == [part[:3] for part in theirs.parts]
        for a, b in zip(ours.parts, theirs.parts, strict=True):
            np.testing.assert_array_equal(a.image, b.image)
    assert [step.name for step in there_steps] == ["gray", "light divided out", "ink that may be digits"]
    for ours, theirs in zip(here_steps, there_steps, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.image, theirs.image)


def test_steps_of_a_page_end_in_what_was_read(run_predict, digits, tmp_path, monkeypatch):
    page, blank = tmp_path / "page.png", tmp_path / "blank.png"
    page_of(digits[:3]).save(page)
    Image.new("L", (300, 300), 255).save(blank)
    drawn = {}

    def draw_steps(steps):
        drawn[len(drawn)] = [step.name for step in steps], steps[-1].image, steps[0].image.shape
        return b"a sheet"

    monkeypatch.setattr("mnist_jax.data.pictures.steps.draw_steps", draw_steps)
    _, expected, _ = run_predict("--multi", page, blank, "--json")
    code, rows, err = run_predict("--multi", page, blank, "--json", f"--steps={tmp_path / 'out'}")
    assert (code, rows, err) == (1, expected, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["blank.steps.png", "page.steps.png"]
    names, read, shape = drawn[0]
    assert names == ["gray", "light divided out", "ink that may be digits", "digits read"]
    # Blue or orange boxes, where the digits are.
    colored = np.ptp(read.astype(int), axis=-1) > 60
    assert read.shape[:2] == shape == (180, 480)
    for digit in rows[0]["digits"]:
        top, left, bottom, right = digit["box"]
        row, column = (top + bottom) // 2, (left + right) // 2
        assert colored[row, max(left - 2, 0) : left + 1].any() and colored[row, right : right + 2].any()
        assert colored[bottom : bottom + 2, column].any()
    assert drawn[1][0] == ["gray", "light divided out"]


def test_pages_from_arrays(run_predict, digits, tmp_path):
    pages = np.stack([np.asarray(page_of(line)) for line in (digits[:3], digits[3:6])])
    np.save(tmp_path / "pages.npy", pages)
    code, rows, _ = run_predict("--multi", tmp_path / "pages.npy", "--json")
    assert code == 0
    assert [(row["index"], len(row["digits"])) for row in rows] == [(0, 3), (1, 3)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--multi", "--csv=a.csv"], "csv: is a table of one answer a picture; expected it without multi"),
        (["--boxes=a.png"], "boxes: is for pages; expected multi with it"),
    ],
)
def test_flags_that_do_not_go_together(run_predict, tmp_path, words, message):
    code, _, err = run_predict(tmp_path / "x.png", *words)
    assert (code, err) == (2, f"error: {message}\n")


def test_pages_are_of_digits(run_predict, small_model, monkeypatch, tmp_path):
    letters = dataclasses.replace(small_model, class_names=tuple("ABCDEFGHIJ"))
    monkeypatch.setattr("mnist_jax.run.load.load", lambda workdir, checkpoint: letters)
    code, _, err = run_predict("--multi", tmp_path / "x.png")
    assert code == 2 and "does not read digits in MNIST's form" in err and len(err.splitlines()) == 1
