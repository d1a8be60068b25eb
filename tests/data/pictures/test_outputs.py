"""Pictures that are made of pictures get names of their own, and never that of one of those."""

import os

import pytest

from mnist_jax.data.pictures.outputs import name_outputs
from mnist_jax.data.pictures.read import Picture
from mnist_jax.errors import ConfigError


def names(path, *pictures, kind="steps"):
    return [str(output) for output in name_outputs(os.fspath(path), pictures, kind)]


def test_names_in_a_folder():
    pictures = [Picture("x/a.jpg"), Picture("y/A.png"), Picture("c.npy", 1), Picture("-"), Picture("a")]
    assert names("out", *pictures) == [
        f"out/{name}.steps.png" for name in ("a", "A_2", "c_1", "picture", "a_3")
    ]
    clash = names("out", Picture("a_2.png"), Picture("b/a.png"), Picture("c/a.png"), kind="boxes")
    assert clash == [f"out/{name}.boxes.png" for name in ("a_2", "a", "a_3")]


def test_one_file_is_for_one_picture(tmp_path):
    assert names("out.png", Picture("a.jpg")) == ["out.png"]
    assert names("out.png") == []
    with pytest.raises(ConfigError, match="steps: out.png is one file for 2 pictures; expected a folder"):
        names("out.png", Picture("a.jpg"), Picture("b.jpg"))
    (tmp_path / "folder.png").mkdir()
    assert names(tmp_path / "folder.png", Picture("a.jpg")) == [str(tmp_path / "folder.png" / "a.steps.png")]


def test_a_picture_is_never_written_over(tmp_path):
    for name in ("a.png", "a.steps.png"):
        (tmp_path / name).touch()
    pictures = [Picture(str(tmp_path / name)) for name in ("a.png", "a.steps.png")]
    assert names(tmp_path, *pictures) == [
        str(tmp_path / name) for name in ("a_2.steps.png", "a.steps.steps.png")
    ]


def test_odd_names_stay_and_long_ones_are_cut():
    odd = "\x1b[2J\n\udcff é"
    assert names("out", Picture(f"{odd}.png")) == [f"out/{odd}.steps.png"]
    (long,) = names("out", Picture("é" * 127 + ".png", 7))
    assert len(os.fsencode(os.path.basename(long))) < 255 and long.endswith("_7.steps.png")
