"""NumPy arrays, whatever people call them and keep in them, become a data set."""

import zipfile

import numpy as np
import pytest

from mnist_jax.data.folder import load_folder
from mnist_jax.data.load import load_splits
from mnist_jax.data.npz import find_roles
from mnist_jax.data.pictures.read import read_pictures
from mnist_jax.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 20, 24), np.uint8)
LABELS = np.arange(60) % 3


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "blobs"
    path.mkdir()
    return path


def load(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return load_folder("mnist", folder)


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "Y_train", "X_val", "Y_val"),
        ("trainX", "trainY", "testX", "testY"),
        ("training_data", "training_targets", "valid_data", "valid_targets"),
        ("arr_0", "arr_1", "arr_2", "arr_3"),
        ("kmnist-train-imgs", "kmnist-train-labels", "kmnist-test-imgs", "kmnist-test-labels"),
    ],
)
def test_arrays_are_found_by_the_names_people_use(folder, names):
    arrays = (IMAGES[:45], LABELS[:45], IMAGES[45:], LABELS[45:])
    expected = ("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels")
    assert find_roles(names) == dict(zip(expected, names, strict=True))
    splits = load(folder, **dict(zip(names, arrays, strict=True)))
    np.testing.assert_array_equal(splits.train.images[..., 0], IMAGES[:45])
    np.testing.assert_array_equal(splits.test.labels, LABELS[45:])
    assert splits.train.name == "blobs" and splits.train.is_drawn


def test_the_test_set_is_not_the_validation_set_where_there_are_both():
    names = ["train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"]
    assert set(find_roles(names).values()) == set(names[:2] + names[4:])
    assert find_roles(names[:4] + names[4:5])[("test", "images")] == "test_images"


@pytest.mark.parametrize("names", [("X", "y"), ("images", "labels"), ("data", "target"), ("arr_0", "arr_1")])
def test_without_test_arrays_a_test_set_is_drawn(folder, names):
    splits = load(folder, **dict(zip(names, (IMAGES, LABELS), strict=True)))
    assert (splits.train.num_examples, splits.test.num_examples) == (48, 12)
    assert np.bincount(splits.test.labels).tolist() == [4, 4, 4]
    for item, image in zip(splits.test_items, splits.test.images, strict=True):
        np.testing.assert_array_equal(IMAGES[int(item.removeprefix("row "))], image[..., 0])


def test_one_array_a_file(folder):
    for name, array in (
        ("x_train", IMAGES),
        ("y_train", LABELS),
        ("x_test", IMAGES[:9]),
        ("y_test", LABELS[:9]),
    ):
        np.save(folder / f"{name}.npy", array)
    splits = load_folder("mnist", folder)
    assert (splits.train.num_examples, splits.test.num_examples) == (60, 9)
    (folder / "y_train.npy").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="y_train.npy: cannot be read"):
        load_folder("mnist", folder)
    (folder / "y_train.npy").unlink()
    with pytest.raises(DataError, match="lacks y_train; expected x_train, y_train, x_test, y_test"):
        load_folder("mnist", folder)


@pytest.mark.parametrize(
    "kept_as",
    [
        lambda images: images.astype(np.float32) / 255,
        lambda images: images.astype(np.float64),
        lambda images: images.astype(np.int64),
        lambda images: images.astype(np.uint16) * 257,
        lambda images: np.repeat(images[..., None], 3, axis=-1),
        lambda images: np.repeat(images[:, None], 3, axis=1),
        lambda images: images[:, None],
    ],
)
def test_images_are_understood_whatever_numbers_and_axes_they_have(folder, kept_as):
    splits = load(folder, x=kept_as(IMAGES), y=LABELS[:, None])
    assert splits.train.image_shape[:2] == (20, 24)
    rows = [int(item.removeprefix("row ")) for item in splits.test_items]
    np.testing.assert_array_equal(splits.test.images[..., 0], IMAGES[rows])


def test_flat_images_and_masks(folder):
    masks = RNG.integers(0, 2, (60, 400), np.uint8)
    splits = load(folder, x=masks, y=LABELS)
    assert splits.train.image_shape == (20, 20, 1)
    assert np.unique(splits.train.images).tolist() == [0, 255]
    row = int(splits.test_items[0].removeprefix("row "))
    np.save(folder / "one.npy", masks[row].reshape(20, 20))
    (picture,) = read_pictures([str(folder / "one.npy")], splits.preparation)
    np.testing.assert_array_equal(picture.image, splits.test.images[0])


def test_labels_may_be_names(folder):
    splits = load(folder, x=IMAGES, y=np.array(["cat", "dog", "ant"])[LABELS])
    assert splits.train.class_names == ("ant", "cat", "dog")


@pytest.mark.parametrize("label", [2**31 - 1, 2**31, 2**63 - 1, -1])
def test_a_label_beyond_all_reason_is_one_line(folder, label):
    labels = LABELS.copy()
    labels[7] = label
    with pytest.raises(DataError, match=rf"label {label} at position 7 is out of range; expected 0 to 255"):
        load(folder, x=IMAGES, y=labels)


@pytest.mark.parametrize(
    ("shape", "expected"), [((8, 8), (28, 28)), ((90, 120), (48, 64)), ((64, 20), (64, 20))]
)
def test_images_too_large_or_too_small_for_the_network_are_resized(folder, shape, expected):
    images = RNG.integers(0, 256, (20, *shape, 3), np.uint8)
    splits = load(folder, x=images, y=np.arange(20) % 2)
    assert splits.train.image_shape == (*expected, 3)
    row = int(splits.test_items[0].removeprefix("row "))
    np.testing.assert_array_equal(
        splits.preparation.apply(images[row] / np.float32(255)), splits.test.images[0]
    )
    done = "taken as they are" if shape == expected else f"resized to {expected[0]}x{expected[1]}"
    assert splits.remarks[-1] == f"images of {shape[0]}x{shape[1]} (height x width) are {done}, not inverted"


def test_digits_in_the_form_of_mnist_are_known_by_it_and_their_negative_is_not(folder):
    from mnist_jax.data import load_splits

    digits = load_splits("mnist_5k").test
    sorted_by_class = np.argsort(digits.labels, kind="stable")
    images, labels = digits.images[sorted_by_class], digits.labels[sorted_by_class]
    splits = load(folder, x=images, y=labels)
    assert splits.train.name == "blobs" and splits.preparation.form == "mnist"
    _, validation = splits.train.hold_out(100, "classes")
    assert np.bincount(validation.labels).tolist() == [10] * 10
    negative = load(folder, x=255 - images, y=labels)
    assert negative.preparation.form == "resized"
    for loaded in (splits, negative):
        for image in loaded.test.images:
            np.testing.assert_array_equal(loaded.preparation.apply(image / np.float32(255)), image)


def test_what_white_is_is_told_by_both_splits(folder):
    dark = np.minimum(IMAGES[:9], 1)
    splits = load(folder, x_train=IMAGES, y_train=LABELS, x_test=dark, y_test=LABELS[:9])
    np.testing.assert_array_equal(splits.test.images[..., 0], dark)
    np.save(folder / "dark.npy", dark)
    read = list(read_pictures([str(folder / "dark.npy")], splits.preparation))
    np.testing.assert_array_equal([picture.image for picture in read], splits.test.images)


@pytest.mark.parametrize("damage", ["encrypted", "nested", "cut"])
def test_archives_that_are_made_to_harm_are_one_line(tmp_path, damage):
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=np.zeros((4, 28, 28), np.uint8), y_train=np.zeros(4, np.int64))
    content = bytearray(path.read_bytes())
    if damage == "encrypted":
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            place = -1
            while (place := content.find(signature, place + 1)) >= 0:
                content[place + offset] |= 1
    elif damage == "cut":
        content = content[: len(content) // 2]
    else:
        header = b"(" * 50_000
        array = b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("x_train.npy", "y_train.npy"):
                archive.writestr(name, array)
        content = bytearray(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"mnist\.npz"):
        load_splits("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["~nouser", "~nouser/data"])
def test_a_home_that_does_not_exist_is_one_line(name):
    with pytest.raises(DataError, match="~nouser"):
        load_splits("mnist", data_dir=name)
