"""People's own pictures, from training to an answer: predict has the run's accuracy, to the picture."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnist_jax.data import load_splits
from mnist_jax.data.files import readable
from tests.data.test_cifar import SmallCifar

TINY = [
    "--config.data.name=mnist",
    "--config.data.train_examples=0",
    "--config.data.validation_examples=0",
    "--config.model.features=(3,)",
    "--config.model.pool_after=(0,)",
    "--config.model.dense_features=6",
    "--config.batch_size=8",
    "--config.num_epochs=2",
]
COLORS = {"red": (220, 30, 30), "green": (30, 160, 30), "blue": (30, 30, 220)}
RNG = np.random.default_rng(0)
# All but the digits come to 48 + 12 images of 64x64 in color, so that one program serves them.


def blob(name: str, size=(64, 64), mode="RGB") -> Image.Image:
    """A disk on paper, whose color or place tells the class."""
    picture = Image.new("RGB", size, (250, 248, 240))
    number, (width, height) = list(COLORS).index(name), size
    x, y = width * (0.2 + 0.3 * number), height * RNG.uniform(0.3, 0.7)
    r = 0.15 * min(size)
    ImageDraw.Draw(picture).ellipse((x - r, y - r, x + r, y + r), fill=COLORS[name])
    return picture.convert(mode)


def fill(folder: Path, num: int, make=blob, names=COLORS, suffix=".png", **options) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(num):
            make(name).save(folder / name / f"{number}{suffix}", **options)


def mixed_sizes(root: Path) -> None:
    for name in COLORS:
        (root / name).mkdir(parents=True)
        for number in range(20):
            size = tuple(map(int, RNG.integers(40, 150, 2)))
            blob(name, size).save(root / name / f"{number}.{('png', 'jpg', 'webp', 'bmp')[number % 4]}")


def dark_on_white(root: Path) -> None:
    digits = load_splits("mnist_5k").train
    for split, start in (("train", 0), ("test", 400)):
        for number in range(start, start + 80):
            folder = root / split / str(digits.labels[number])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - digits.images[number, ..., 0]).save(folder / f"{number}.png")


def photos(root: Path) -> None:
    fill(root / "train", 16, lambda name: blob(name, (400, 400)), suffix=".jpg")
    fill(root / "valid", 4, lambda name: blob(name, (400, 400)), suffix=".jpg")


def on_their_side(root: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    turned = lambda name: blob(name).transpose(Image.Transpose.ROTATE_90)  # noqa: E731
    fill(root / "training", 16, turned, suffix=".jpg", exif=tags)
    fill(root / "testing", 4, turned, suffix=".jpg", exif=tags)


def transparent_with_odd_names(root: Path) -> None:
    def cut_out(name: str) -> Image.Image:
        picture = blob(name, mode="RGBA")
        picture.putalpha(Image.fromarray(255 * (np.asarray(picture.convert("L")) < 200).astype(np.uint8)))
        return picture

    for split, num in (("train", 16), ("test", 4)):
        fill(root / split, num, cut_out)
        for old, new in zip(COLORS, (b"z\xe9ro", "三".encode(), b"$\\foo$ <b>&"), strict=True):
            os.rename(bytes(root / split / old), bytes(root / split) + b"/" + new)


@pytest.mark.parametrize(
    ("make", "shape", "said"),
    [
        (mixed_sizes, [64, 64, 3], "12 of 60 examples are drawn for it, over all classes"),
        (
            dark_on_white,
            [28, 28, 1],
            "pictures of 28x28 (height x width) are taken as they are, not inverted",
        ),
        (photos, [64, 64, 3], "pictures of 400x400 (height x width) are resized to 64x64"),
        (on_their_side, [64, 64, 3], "taken as they are"),
        (transparent_with_odd_names, [64, 64, 3], "laid on white"),
    ],
)
def test_predict_gives_the_accuracy_of_the_run(in_process, tmp_path, make, shape, said):
    root, workdir = tmp_path / "own data", tmp_path / "run"
    make(root)
    done = in_process("train", *TINY, f"--workdir={workdir}", f"--config.data.dir={root}")
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    run = json.loads((workdir / "config.json").read_text())["run"]
    summary = json.loads((workdir / "summary.json").read_text())
    assert run["image_shape"] == run["dataset"]["preparation"]["image_shape"] == shape
    assert run["dataset"]["name"] == "own data"
    assert any(said in remark for remark in run["dataset"]["remarks"])

    if (workdir / "test_items.txt").exists():
        items = (workdir / "test_items.txt").read_bytes().decode(errors="surrogateescape").splitlines()
        files = [root / item for item in items]
    else:
        files = [path for path in root.rglob("*.*") if path.parts[-3] in ("test", "testing", "valid")]
    done = in_process("predict", f"--workdir={workdir}", "--json", *map(str, files))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    wrong = [row for row in rows if str(row["label"]) != readable(Path(row["file"]).parent.name)]
    assert (len(rows), len(wrong)) == (summary["dataset"]["num_test"], summary["test_errors"])


def test_kaggles_tables_are_trained_from_and_answered(in_process, tmp_path):
    root, workdir, answers = tmp_path / "kaggle", tmp_path / "run", tmp_path / "submission.csv"
    root.mkdir()
    digits = load_splits("mnist_5k").train.take(300)
    pixels = digits.images.reshape(300, -1)
    names = ",".join(f"pixel{i}" for i in range(784))
    labeled = np.concatenate([digits.labels[:, None], pixels], axis=1)
    np.savetxt(root / "train.csv", labeled, "%d", ",", header=f"label,{names}", comments="")
    np.savetxt(root / "test.csv", pixels[:40], "%d", ",", header=names, comments="")
    done = in_process("train", *TINY, f"--workdir={workdir}", f"--config.data.dir={root}")
    assert done.returncode == 0, done.stderr
    assert "60 of 300 examples are drawn" in done.stdout

    summary = json.loads((workdir / "summary.json").read_text())
    rows = [int(line.removeprefix("row ")) for line in (workdir / "test_items.txt").read_text().splitlines()]
    for table, expected in ((root / "test.csv", range(40)), (root / "train.csv", range(300))):
        done = in_process("predict", f"--workdir={workdir}", str(table), f"--csv={answers}")
        assert done.returncode == 0, done.stderr
        submission = list(csv.DictReader(answers.read_text().splitlines()))
        assert [int(row["ImageId"]) for row in submission] == [i + 1 for i in expected]
    wrong = sum(int(submission[row]["Label"]) != digits.labels[row] for row in rows)
    assert wrong == summary["test_errors"]


@pytest.mark.parametrize("name", ["cifar10", pytest.param("cifar100", marks=pytest.mark.slow)])
def test_cifars_files_are_trained_on_in_color(in_process, tmp_path, name):
    SmallCifar(name).write_folder(tmp_path / "data")
    workdir = tmp_path / "run"
    done = in_process("train", *TINY, f"--workdir={workdir}", f"--config.data.dir={tmp_path / 'data'}")
    assert done.returncode == 0, done.stderr
    run = json.loads((workdir / "config.json").read_bytes())["run"]
    assert run["image_shape"] == [32, 32, 3] and run["dataset"]["name"] == name
    assert len(run["class_names"]) == (10 if name == "cifar10" else 100)
    summary = json.loads((workdir / "summary.json").read_bytes())
    assert summary["dataset"]["num_test"] == 6 and np.isfinite(summary["test_loss"])
