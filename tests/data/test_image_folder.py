"""People's own pictures in folders: any size, kind, layout and name becomes one data set."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data.folder import load_folder
from mnist_jax.errors import DataError


def save(path: Path, value, size=(32, 24), mode="L", **options) -> Path:
    """A picture of one color; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)
    return path


def fill(folder: Path, num: int, classes=("cat", "dog")) -> Path:
    for label, name in enumerate(classes):
        for index in range(num):
            save(folder / name / f"{index}.png", 10 * index + label)
    return folder


@pytest.fixture
def empty(tmp_path) -> Path:
    folder = tmp_path / "my pets"
    folder.mkdir()
    return folder


@pytest.fixture
def root(empty) -> Path:
    fill(empty / "train", 3)
    fill(empty / "test", 1)
    return empty


def load(root: Path):
    return load_folder("pets", root)


def fault(root: Path) -> str:
    with pytest.raises(DataError) as raised:
        load(root)
    assert "\n" not in str(raised.value) and "expected" in str(raised.value)
    return str(raised.value)


def test_pictures_become_a_data_set_with_its_classes_spread(root):
    splits = load(root)
    assert splits.train.class_names == ("cat", "dog") and splits.train.name == "pets"
    assert splits.train.images.shape == (6, 24, 32, 1) and splits.test.images.shape == (2, 24, 32, 1)
    np.testing.assert_array_equal(splits.train.labels, [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(splits.train.images[:, 0, 0, 0], [0, 1, 10, 11, 20, 21])
    assert splits.remarks == ("pictures of 24x32 (height x width) are taken as they are, not inverted",)
    assert splits.train.is_drawn and splits.test_items == ()


def test_unless_it_is_named_the_data_is_called_what_its_folder_is(root):
    assert load_folder("mnist", root).train.name == "my pets"


def test_one_colored_picture_makes_all_rgb(root):
    save(root / "train" / "dog" / "9.png", (200, 0, 0), mode="RGB")
    splits = load(root)
    assert splits.train.image_shape == splits.test.image_shape == (24, 32, 3)
    np.testing.assert_array_equal(splits.train.images[-1, 0, 0], [200, 0, 0])
    assert splits.preparation.image_shape == (24, 32, 3)


def test_gray_pictures_saved_as_rgb_palette_or_opaque_rgba_stay_gray(root):
    save(root / "train" / "dog" / "7.png", (9, 9, 9), mode="RGB")
    save(root / "train" / "dog" / "8.bmp", (9, 9, 9, 255), mode="RGBA")
    Image.new("L", (32, 24), 9).convert("P").save(root / "train" / "dog" / "9.gif")
    splits = load(root)
    assert splits.train.image_shape == (24, 32, 1)
    assert (splits.train.images[splits.train.labels == 1][-3:] == 9).all()


def test_hidden_and_system_files_and_tables_are_passed_over(root):
    (root / "train" / ".DS_Store").write_text("")
    (root / "train" / "cat" / "Thumbs.db").write_text("")
    (root / "train" / "_classes.csv").write_text("file,cat,dog")
    assert load(root).train.num_examples == 6


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("test", ["testing", "valid", "val", "Validation"])
def test_the_splits_have_several_names(root, train, test):
    (root / "train").rename(root / "_")
    (root / "_").rename(root / train)
    (root / "test").rename(root / test)
    splits = load(root)
    assert (splits.train.num_examples, splits.test.num_examples) == (6, 2)
    assert splits.test_items == ()


def test_of_test_and_valid_the_second_is_said_not_to_be_used(root):
    fill(root / "valid", 2)
    splits = load(root)
    assert splits.test.num_examples == 2
    assert f"{root / 'valid'} is not used: the test set is test" in splits.remarks


@pytest.mark.parametrize("layout", ["flat", "train alone", "unlabeled test"])
def test_a_test_set_is_drawn_over_all_classes_where_there_is_none(empty, layout):
    folder = fill(empty if layout == "flat" else empty / "train", 10, ("ant", "bee", "cow"))
    if layout == "unlabeled test":
        save(empty / "test" / "0.png", 3)
    splits = load(empty)
    np.testing.assert_array_equal(np.bincount(splits.train.labels), [8, 8, 8])
    np.testing.assert_array_equal(np.bincount(splits.test.labels), [2, 2, 2])
    assert "6 of 30 examples are drawn for it, over all classes" in splits.remarks[-1]
    for item, image, label in zip(splits.test_items, splits.test.images, splits.test.labels, strict=True):
        np.testing.assert_array_equal(splits.preparation.load(folder / item), image)
        assert Path(item).parent.name == splits.test.class_names[label]
    again = load(empty)
    assert again.test.sha256 == splits.test.sha256 and again.train.sha256 == splits.train.sha256


def test_folders_without_pictures_beside_flat_classes_are_said_to_be_passed_over(empty):
    fill(empty, 5)
    (empty / "notes").mkdir()
    splits = load(empty)
    assert splits.train.class_names == ("cat", "dog")
    assert f"{empty / 'notes'} has no pictures: it is passed over" in splits.remarks


def test_too_few_pictures_to_draw_a_test_set_of(empty):
    fill(empty, 1)
    assert "2 pictures in 2 classes and no test set; expected more than one of a class" in fault(empty)


def test_sizes_and_formats_may_be_mixed(empty):
    rng = np.random.default_rng(0)
    for number in range(12):
        suffix = ("png", "jpg", "webp", "bmp", "gif", "tiff")[number % 6]
        size = tuple(map(int, rng.integers(60, 200, 2)))
        save(empty / "red" / f"{number}.{suffix}", (255, 0, 0), size, "RGB")
        save(empty / "blue" / f"{number}.{suffix}", (0, 0, 255), size, "RGB")
    splits = load(empty)
    assert splits.train.image_shape == (64, 64, 3)
    assert "12 sizes from" in splits.remarks[0] and "are resized to 64x64" in splits.remarks[0]
    means = splits.train.images.mean(axis=(1, 2))
    assert (means[:, 0] > 200).tolist() == (splits.train.labels == 1).tolist()
    assert (means[:, 2] > 200).tolist() == (splits.train.labels == 0).tolist()


def test_photographs_become_small_and_keep_their_aspect(root):
    for path in root.rglob("*.png"):
        save(path, (1, 2, 3), (400, 300), "RGB")
    assert load(root).train.image_shape == (48, 64, 3)
    assert load_folder("pets", root, 32).train.image_shape == (24, 32, 3)


def test_exif_orientation_is_applied(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = np.zeros((24, 32), np.uint8)
    upright[:4] = 255
    for path in [*root.rglob("*.png")]:
        path.unlink()
        Image.fromarray(np.rot90(upright)).save(path.with_suffix(".jpg"), exif=exif, quality=95)
    splits = load(root)
    assert splits.train.image_shape == (24, 32, 1)
    assert splits.train.images[:, :3].min() > 200 and splits.train.images[:, 5:].max() < 50


def test_transparency_is_laid_on_white_or_where_the_ink_is_light_on_black(root):
    for path in root.rglob("*.png"):
        alpha = np.zeros((24, 32), np.uint8)
        alpha[5:10, 5:20] = 255
        Image.fromarray(np.stack([alpha * 0] * 3 + [alpha], axis=-1)).save(path)
    splits = load(root)
    assert splits.train.images[:, 0, 0].min() == 255 and splits.train.images[:, 6, 6].max() == 0
    assert "transparent pixels are laid on white" in splits.remarks
    for path in root.rglob("*.png"):
        Image.fromarray(np.stack([alpha * 0 + 255] * 3 + [alpha], axis=-1)).save(path)
    splits = load(root)
    assert splits.train.images[:, 0, 0].max() == 0 and splits.train.images[:, 6, 6].min() == 255


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_what_white_is_in_sixteen_bits_is_told_by_the_data(root, bits):
    ramp = np.linspace(0, 2**bits - 1, 24 * 32).astype(np.uint16).reshape(24, 32)
    for path in root.rglob("*.png"):
        Image.fromarray(ramp).save(path)
    dark = Image.fromarray(ramp // 16)
    dark.save(root / "train" / "cat" / "0.png")
    splits = load(root)
    assert f"white is {2**bits - 1} in pictures of more than 8 bits" in splits.remarks
    assert splits.train.images[-1].max() == 255 and splits.train.images[0].max() in (15, 16)


def test_a_set_of_masks_is_black_and_white(root):
    for number, path in enumerate(root.rglob("*.png")):
        Image.fromarray((np.arange(24 * 32).reshape(24, 32) % (2 + number) == 0).astype(np.uint8)).save(path)
    splits = load(root)
    assert np.unique(splits.train.images).tolist() == [0, 255]
    for image in splits.test.images:
        assert any((splits.preparation.load(path) == image).all() for path in root.rglob("*.png"))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"z\xe9ro", "zéro"),
        ("三".encode(), "三"),
        (b'a <b>"x"', 'a <b>"x"'),
        (b"$\\foo$", "$\\foo$"),
        (b"a\nb", "a\\nb"),
    ],
)
def test_classes_of_any_name_get_a_readable_one(root, raw, expected):
    for split in ("train", "test"):
        folder = root / split / "dog"
        os.rename(bytes(folder), bytes(root / split) + b"/" + raw)
    splits = load(root)
    assert set(splits.train.class_names) == {"cat", expected}
    assert json.loads(json.dumps(splits.train.class_names, ensure_ascii=False).encode()) == list(
        splits.train.class_names
    )


def test_numbers_are_sorted_as_numbers(empty):
    fill(empty, 2, tuple(map(str, range(12))))
    assert load(empty).train.class_names == tuple(map(str, range(12)))


@pytest.mark.parametrize("table", ["metadata.csv", "metadata.jsonl"])
def test_hugging_face_folders_tell_the_classes_in_a_table(empty, table):
    for split, num in (("train", 4), ("test", 2)):
        rows = []
        for number in range(num):
            label = ("cat", "dog")[number % 2]
            save(empty / split / f"{number}.png", number)
            rows.append({"file_name": f"{number}.png", "label": label})
        lines = [json.dumps(row) for row in rows]
        if table.endswith("csv"):
            lines = ["file_name,label", *(f"{row['file_name']},{row['label']}" for row in rows)]
        (empty / split / table).write_text("\n".join(lines))
    splits = load(empty)
    assert splits.train.class_names == ("cat", "dog")
    np.testing.assert_array_equal(splits.train.images[:, 0, 0, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(splits.train.labels, [0, 1, 0, 1])
    (empty / "train" / table).write_text("file_name,colour\n0.png,red")
    assert f"{empty / 'train' / table}: cannot be read" in fault(empty)


def test_one_table_for_all_splits(empty):
    lines = ["file_name,label"]
    for split, num in (("train", 4), ("test", 2)):
        for number in range(num):
            save(empty / split / f"{number}.png", number)
            lines.append(f"{split}/{number}.png,{('cat', 'dog')[number % 2]}")
    (empty / "metadata.csv").write_text("\n".join(lines))
    splits = load(empty)
    assert (splits.train.num_examples, splits.test.num_examples) == (4, 2)
    np.testing.assert_array_equal(splits.test.images[:, 0, 0, 0], [0, 1])
    (empty / "metadata.csv").write_text("\n".join(lines[:1]))
    assert "metadata.csv: an empty split" in fault(empty) or "cannot be read" in fault(empty)


def test_an_archive_unpacked_into_a_folder_of_its_own_is_found(root, tmp_path_factory):
    outer = tmp_path_factory.mktemp("outer")
    root.rename(outer / "archive")
    (outer / "__MACOSX").mkdir()
    assert load(outer).train.num_examples == 6
    (outer / "archive").rename(root)


def test_a_damaged_picture_is_named(root):
    path = root / "train" / "cat" / "1.png"
    blob = path.read_bytes()
    for damaged in (b"", b"not a picture", blob[:40], blob[:45] + b"\0\0\0\0" + blob[49:]):
        path.write_bytes(damaged)
        assert f"{path}: cannot be read as a picture" in fault(root)


def test_a_class_without_pictures_and_an_unknown_class(root):
    (root / "train" / "bird").mkdir()
    assert f"{root / 'train' / 'bird'}: no pictures in it" in fault(root)
    (root / "train" / "bird").rmdir()
    save(root / "test" / "bird" / "0.png", 0)
    assert "bird is a class that train lacks; expected one of cat, dog" in fault(root)


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


# --- Folders from somebody else ---


def test_a_picture_that_is_none_is_named_and_not_waited_for(root):
    for make in (
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path.name),
    ):
        (root / "train" / "cat" / "1.png").unlink()
        make(root / "train" / "cat" / "1.png")
        assert "1.png: cannot be read as a picture (cannot be read (" in fault(root)


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside.png", "a/../../outside.png"])
def test_a_table_names_pictures_below_its_folder(empty, name):
    save(empty.parent / "outside.png", 0)
    save(empty / "a.png", 0)
    (empty / "metadata.csv").write_text(f"file_name,label\na.png,x\n{name},y\n")
    assert f"metadata.csv: names {name}, outside of its folder" in fault(empty)


@pytest.mark.parametrize("line", ["[" * 100_000, '["file_name", "label"]', "3", '{"file_name": "a.png"}'])
def test_a_table_of_no_rows_is_told(empty, line):
    save(empty / "a.png", 0)
    (empty / "metadata.jsonl").write_text(line)
    assert "metadata.jsonl: cannot be read" in fault(empty)


def test_a_table_is_of_bounded_size_and_so_are_its_names(empty):
    save(empty / "a.png", 0)
    (empty / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "label": 10**6 * "x"}))
    assert "a name of 1,000,000 characters" in fault(empty)
    with open(empty / "metadata.jsonl", "wb") as file:
        file.truncate(2**40)
    assert "larger than" in fault(empty)
