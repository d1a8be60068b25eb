from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data.folder import load_folder
from mnist_jax.errors import DataError


def save(path: Path, value, size=(8, 6), mode="L", **options) -> Path:
    """A picture of one color; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    for split, num in (("train", 3), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            for index in range(num):
                save(tmp_path / split / name / f"{index}.png", 10 * index + label)
    return tmp_path


def fault(root: Path) -> str:
    with pytest.raises(DataError) as raised:
        load_folder("pets", root)
    assert "\n" not in str(raised.value) and "expected" in str(raised.value)
    return str(raised.value)


def test_pictures_become_a_data_set_with_its_classes_spread(root):
    splits = load_folder("pets", root)
    assert splits.train.class_names == ("cat", "dog") and splits.train.name == "pets"
    assert splits.train.images.shape == (6, 6, 8, 1) and splits.test.images.shape == (2, 6, 8, 1)
    np.testing.assert_array_equal(splits.train.labels, [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(splits.train.images[:, 0, 0, 0], [0, 1, 10, 11, 20, 21])


def test_one_colored_picture_makes_all_rgb(root):
    save(root / "train" / "dog" / "9.png", (200, 0, 0), mode="RGB")
    splits = load_folder("pets", root)
    assert splits.train.image_shape == splits.test.image_shape == (6, 8, 3)
    np.testing.assert_array_equal(splits.train.images[-1, 0, 0], [200, 0, 0])


def test_gray_pictures_saved_as_rgb_palette_or_opaque_rgba_stay_gray(root):
    save(root / "train" / "dog" / "7.png", (9, 9, 9), mode="RGB")
    save(root / "train" / "dog" / "8.bmp", (9, 9, 9, 255), mode="RGBA")
    Image.new("L", (8, 6), 9).convert("P").save(root / "train" / "dog" / "9.gif")
    splits = load_folder("pets", root)
    assert splits.train.image_shape == (6, 8, 1)
    assert (splits.train.images[splits.train.labels == 1][-3:] == 9).all()


def test_hidden_and_system_files_are_passed_over(root):
    (root / "train" / ".DS_Store").write_text("")
    (root / "train" / "cat" / "Thumbs.db").write_text("")
    assert load_folder("pets", root).train.num_examples == 6


def test_the_odd_one_out_is_named(root):
    odd = save(root / "test" / "dog" / "5.png", 1, size=(8, 7))
    assert f"{odd}: 7 x 8 pixels (height x width); expected 6 x 8" in fault(root)


def test_a_damaged_picture_is_named(root):
    path = root / "train" / "cat" / "1.png"
    blob = path.read_bytes()
    for damaged in (b"", b"not a picture", blob[:40], blob[:45] + b"\0\0\0\0" + blob[49:]):
        path.write_bytes(damaged)
        assert f"{path}: cannot be read as a picture" in fault(root)


def test_sixteen_bits_and_transparency_are_refused(root):
    path = save(root / "train" / "cat" / "1.png", 300, mode="I;16")
    assert f"{path}: pixels of mode I;16; expected 8 bits" in fault(root)
    save(path, (0, 0, 0, 7), mode="RGBA")
    assert f"{path}: has transparent pixels" in fault(root)


def test_no_test_folder(root):
    (root / "test").rename(root / "elsewhere")
    assert f"{root / 'test'}: the folder does not exist; expected train/ and test/" in fault(root)


def test_a_class_without_pictures_and_an_unknown_class(root):
    (root / "train" / "bird").mkdir()
    assert f"{root / 'train' / 'bird'}: no pictures in it" in fault(root)
    (root / "train" / "bird").rmdir()
    save(root / "test" / "bird" / "0.png", 0)
    assert "a class that train lacks; expected one of cat, dog" in fault(root)


def test_an_empty_split(root):
    for path in (root / "test").rglob("*.png"):
        path.unlink()
    assert f"{root / 'test'}: an empty split" in fault(root)


def test_files_in_the_wrong_place(root):
    path = root / "train" / "cat" / "notes.txt"
    path.write_text("")
    assert f"{path}: not a picture file" in fault(root)
    path.unlink()
    stray = save(root / "train" / "0.png", 0)
    assert f"{stray}: a file beside the class folders" in fault(root)
