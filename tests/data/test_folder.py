import gzip
import io
import os
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mnist_jax.data.folder import load_folder, load_from_variable
from mnist_jax.data.load import load_splits
from mnist_jax.data.writers import read_writers
from mnist_jax.errors import DataError
from tests.data.conftest import SmallSet, encode_idx

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def fault(folder: Path, name: str = "fashion_mnist") -> str:
    """The one line that loading this folder fails with."""
    with pytest.raises(DataError) as raised:
        load_folder(name, folder)
    message = str(raised.value)
    assert "\n" not in message and "expected" in message and str(folder) in message
    return message


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("joint", ["-", "."])
def test_idx_files_are_read_as_they_are(small, tmp_path, gz, joint):
    small.write(tmp_path, gz=gz, rename=lambda name: name.replace("-idx", joint + "idx"))
    splits = load_folder("mnist", tmp_path)
    np.testing.assert_array_equal(splits.train.images[..., 0], small.arrays[TRAIN_IMAGES])
    np.testing.assert_array_equal(splits.train.labels, small.arrays[TRAIN_LABELS])
    np.testing.assert_array_equal(splits.test.images[..., 0], small.arrays[TEST_IMAGES])
    np.testing.assert_array_equal(splits.test.labels, small.arrays[TEST_LABELS])
    assert splits.train.images.shape == (30, 28, 28, 1) and splits.train.labels.dtype == np.int32
    assert splits.train.class_names == tuple("0123456789")
    assert splits.train.source == f"folder {tmp_path} (IDX)"
    assert not splits.is_fallback and splits.notice == ""


def test_the_same_data_has_the_same_fingerprint_through_idx_and_npz(small, tmp_path):
    through_idx = load_folder("mnist", small.write(tmp_path / "idx"))
    (tmp_path / "npz").mkdir()
    through_npz = load_folder("mnist", small.write_npz(tmp_path / "npz" / "mnist.npz"))
    assert through_idx.train.sha256 == through_npz.train.sha256
    assert through_idx.test.sha256 == through_npz.test.sha256


def test_another_image_size_and_another_name_are_fine(make_small, tmp_path):
    folder = make_small(size=32, num_classes=3).write(tmp_path)
    splits = load_folder("my_letters", folder)
    assert splits.train.image_shape == (32, 32, 1)
    assert splits.train.class_names == ("0", "1", "2") and splits.train.name == "my_letters"


def test_a_plain_file_under_the_name_of_a_gzipped_one_is_read(small, tmp_path, encode):
    small.write(tmp_path)
    (tmp_path / f"{TRAIN_IMAGES}.gz").write_bytes(encode(small.arrays[TRAIN_IMAGES]))
    assert load_folder("mnist", tmp_path).train.num_examples == 30


def test_a_folder_named_for_the_data_set_is_looked_into(small, tmp_path):
    small.write(tmp_path / "kmnist")
    assert load_folder("kmnist", tmp_path).train.class_names[:2] == ("o", "ki")


@pytest.mark.parametrize("own_spelling", [False, True])
def test_emnist_letters_stand_upright_and_start_at_a(make_small, tmp_path, own_spelling):
    letters = make_small(num_train=52, num_test=26, num_classes=26)
    upright = letters.arrays[TRAIN_IMAGES].copy()
    for name, array in letters.arrays.items():
        letters.arrays[name] = array + 1 if "labels" in name else array.transpose(0, 2, 1).copy()

    def rename(name):
        return f"emnist-letters-{name}".replace("t10k", "test") if own_spelling else name

    splits = load_folder("emnist/letters", letters.write(tmp_path, rename=rename))
    np.testing.assert_array_equal(splits.train.images[..., 0], upright)
    np.testing.assert_array_equal(splits.train.labels, np.arange(52) % 26)
    assert splits.train.class_names[0] == "a" and splits.train.num_classes == 26


def write_qmnist(folder, encode, images, labels):
    for split in ("train", "test"):
        (folder / f"qmnist-{split}-images-idx3-ubyte").write_bytes(encode(images))
        if labels is not None:
            (folder / f"qmnist-{split}-labels-idx2-int").write_bytes(encode(labels))


@pytest.mark.parametrize("name", ["qmnist", "mnist"])
def test_qmnist_has_its_class_writer_and_series_in_columns(tmp_path, encode, name):
    labels = np.stack([np.arange(40) % 10, np.arange(40) // 20 * 4, np.arange(40) // 5, *[np.ones(40)] * 5])
    labels = labels.T.astype(np.int32)
    write_qmnist(
        tmp_path, encode, np.arange(40 * 784, dtype=np.uint32).astype(np.uint8).reshape(40, 28, 28), labels
    )
    splits = load_folder(name, tmp_path)
    assert splits.train.name == "qmnist" and splits.train.class_names == tuple("0123456789")
    np.testing.assert_array_equal(splits.test.labels, labels[:, 0])
    np.testing.assert_array_equal(splits.train.groups, labels[:, 2])
    np.testing.assert_array_equal(splits.train.strata, labels[:, 1])
    train, validation = splits.train.hold_out(10, "writers")
    assert validation.num_examples == 10 and not set(train.groups) & set(validation.groups)


def test_qmnists_own_label_files_are_those_of_the_table_of_writers(real_mnist, tmp_path, encode):
    published = real_mnist.parent / "qmnist"
    if not published.is_dir():
        pytest.skip("QMNIST's labels are not at hand")
    for path in published.glob("qmnist-*-labels-idx2-int.gz"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write_qmnist(
        tmp_path, encode, np.arange(240_000, dtype=np.uint32).astype(np.uint8).reshape(60_000, 2, 2), None
    )
    splits = load_folder("qmnist", tmp_path)
    assert (splits.train.num_examples, splits.test.num_examples) == (60_000, 60_000)
    writers, series = read_writers()
    np.testing.assert_array_equal(splits.train.groups, writers)
    np.testing.assert_array_equal(splits.train.strata, series)


def test_qmnist_beside_mnist_is_what_data_name_says(small, tmp_path, encode, monkeypatch):
    small.write(tmp_path)
    write_qmnist(
        tmp_path, encode, small.arrays[TRAIN_IMAGES][:20], np.arange(160, dtype=np.int32).reshape(20, 8) // 16
    )
    assert load_folder("mnist", tmp_path).train.num_examples == 30
    assert load_folder("qmnist", tmp_path).train.num_examples == 20
    assert load_from_variable("mnist", tmp_path).train.num_examples == 30
    assert load_from_variable("qmnist", tmp_path).train.num_examples == 20


def test_qmnist_without_files_says_where_they_are():
    with pytest.raises(DataError, match="qmnist is read from its files; expected data.dir"):
        load_splits("qmnist")


@pytest.mark.parametrize("label", [0, 27])
def test_emnist_letters_have_labels_1_to_26_in_the_files(make_small, tmp_path, label):
    letters = make_small(num_train=52, num_test=26, num_classes=26)
    for name in (TRAIN_LABELS, TEST_LABELS):
        letters.arrays[name] += 1
    letters.arrays[TRAIN_LABELS][7] = label
    message = fault(letters.write(tmp_path), "emnist/letters")
    assert f"label {label} at position 7 is out of range; expected 1 to 26" in message


FILE_FAULTS = {
    "magic": (TRAIN_IMAGES, lambda blob: gzip.compress(b"\0\0\x08\x05" + blob[4:]), "IDX header|promises"),
    "magic of labels": (TEST_LABELS, lambda blob: b"\x12\x34" + blob[2:], "wrong IDX magic 12 34 08 01"),
    "truncated gzip": (TRAIN_IMAGES, lambda blob: gzip.compress(blob)[:5000], "gzip stream is cut short"),
    "gzip CRC": (
        TRAIN_LABELS,
        lambda blob: gzip.compress(blob)[:-8] + struct.pack("<II", 1, len(blob)),
        "CRC check failed",
    ),
    "header count": (
        TRAIN_IMAGES,
        lambda blob: blob[:4] + struct.pack(">I", 31) + blob[8:],
        "but only 23520 follow",
    ),
    "too many counts": (
        TRAIN_LABELS,
        lambda blob: blob[:4] + struct.pack(">I", 31) + blob[8:],
        "but only 30",
    ),
    "trailing bytes": (TEST_IMAGES, lambda blob: gzip.compress(blob + b"rubbish"), "but more follow"),
    "no count": (TEST_LABELS, lambda blob: blob[:4] + bytes(4), "an empty split"),
    "huge header": (TEST_IMAGES, lambda blob: blob[:4] + b"\xff" * 12, "but only 0 follow"),
    "empty file": (TEST_IMAGES, lambda blob: b"", "the file is empty"),
    "label": (
        TEST_LABELS,
        lambda blob: blob[:-1] + b"\x0a",
        "label 10 at position 19 is out of range; expected 0 to 9",
    ),
    "web page": (TRAIN_IMAGES, lambda blob: b"<html>404</html>", "looks like a web page"),
    "labels for images": (
        TRAIN_IMAGES,
        lambda blob: b"\0\0\x08\x01" + struct.pack(">I", 30) + bytes(30),
        "are images and labels swapped",
    ),
    "floats": (TRAIN_IMAGES, lambda blob: blob[:2] + b"\x0d" + blob[3:] + bytes(3 * 23520), "float32 values"),
}


@pytest.mark.parametrize(("name", "damage", "message"), FILE_FAULTS.values(), ids=FILE_FAULTS)
def test_a_damaged_file_is_named(small, tmp_path, encode, name, damage, message):
    small.write(tmp_path)
    (tmp_path / f"{name}.gz").write_bytes(damage(encode(small.arrays[name])))
    found = fault(tmp_path)
    assert re.search(message, found), found
    assert found.startswith(str(tmp_path / name))


@pytest.mark.parametrize("missing", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
def test_a_missing_file_is_named(small, tmp_path, missing):
    small.write(tmp_path)
    (tmp_path / f"{missing}.gz").unlink()
    assert f"missing file: {missing} (or .gz)" in fault(tmp_path)


def test_different_counts_of_images_and_labels(small, tmp_path):
    small.arrays[TRAIN_LABELS] = small.arrays[TRAIN_LABELS][:29]
    message = fault(small.write(tmp_path))
    assert f"{TRAIN_IMAGES}.gz holds 30 images but {tmp_path / TRAIN_LABELS}.gz 29 labels" in message


def test_train_and_test_of_different_image_sizes(small, tmp_path):
    small.arrays[TEST_IMAGES] = small.arrays[TEST_IMAGES][:, :27].copy()
    assert "train images are 28x28x1 but test images 27x28x1" in fault(small.write(tmp_path))


def test_swapped_images_and_labels(small, tmp_path):
    names = {TRAIN_IMAGES: TRAIN_LABELS, TRAIN_LABELS: TRAIN_IMAGES}
    message = fault(small.write(tmp_path, rename=lambda name: names.get(name, name)))
    assert "expected images" in message and "are images and labels swapped?" in message


def test_a_folder_that_is_none(small, tmp_path):
    assert "the folder does not exist" in fault(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    assert "is a file; expected the folder that holds it" in fault(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "no data set in it (found nothing)" in fault(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("")
    assert "no data set in it (found notes.txt)" in fault(tmp_path / "other")


def test_a_dangling_link_and_a_folder_in_place_of_a_file(small, tmp_path):
    small.write(tmp_path)
    path = tmp_path / f"{TEST_LABELS}.gz"
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    assert f"{path}: cannot be read: No such file" in fault(tmp_path)
    path.unlink()
    path.mkdir()
    assert f"{path}: cannot be read: Is a directory" in fault(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_and_a_folder_that_may_not_be_read(small, tmp_path):
    small.write(tmp_path)
    (tmp_path / f"{TEST_LABELS}.gz").chmod(0)
    assert "Permission denied" in fault(tmp_path)
    tmp_path.chmod(0)
    try:
        assert "Permission denied" in fault(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def _npz(path: Path, arrays, **changes) -> Path:
    keys = ("x_train", "y_train", "x_test", "y_test")
    content = dict(zip(keys, arrays.values(), strict=True)) | changes
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path.parent


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "lacks y_test; expected x_train, y_train, x_test, y_test"),
        (
            {"x_train": np.full((30, 28, 28), 256, np.float32)},
            "x_train: float32 values, numbers from 256 to 256; expected 0 to 255",
        ),
        (
            {"x_train": np.zeros((30, 783), np.uint8)},
            "x_train: uint8 values in 2 dimensions; expected images",
        ),
        ({"x_train": np.full((30, 28, 28), np.nan)}, "numbers from nan to nan; expected 0 to 255"),
        ({"x_train": np.zeros((30, 28, 28, 4), np.uint8)}, "4 channels; expected 1 (grayscale) or 3 (RGB)"),
        (
            {"y_train": np.eye(10, dtype=np.int64)[np.arange(30) % 10]},
            "y_train: int64 values in 2 dimensions",
        ),
        ({"y_train": np.zeros(30, np.float32)}, "y_train: float32 values in 1 dimension; expected labels"),
        ({"y_train": np.full(30, -1)}, "label -1 at position 0 is out of range"),
        ({"y_train": np.array([{}] * 30, object)}, "Object arrays cannot be loaded"),
        ({"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, int)}, "an empty split"),
    ],
)
def test_a_wrong_npz_is_named(small, tmp_path, changes, message):
    assert message in fault(_npz(tmp_path / "mnist.npz", small.arrays, **changes))


@pytest.mark.parametrize(
    "damage", [lambda blob: b"", lambda blob: b"no zip", lambda blob: blob[: len(blob) // 2]]
)
def test_a_damaged_npz_is_named(small, tmp_path, damage):
    path = tmp_path / "mnist.npz"
    small.write_npz(path)
    path.write_bytes(damage(path.read_bytes()))
    assert f"{path}: cannot be read" in fault(tmp_path)


def test_a_single_array_under_the_name_of_an_npz_is_named(small, tmp_path):
    with (tmp_path / "mnist.npz").open("wb") as stream:
        np.save(stream, small.arrays[TRAIN_IMAGES])
    assert "holds one array; expected an .npz archive with x_train" in fault(tmp_path)


def test_a_flipped_byte_in_an_npz_is_found(small, tmp_path):
    path = tmp_path / "mnist.npz"
    small.write_npz(path)
    blob = bytearray(path.read_bytes())
    blob[5000] ^= 1
    path.write_bytes(blob)
    assert "Bad CRC-32" in fault(tmp_path)


def test_an_npz_that_promises_terabytes(small, tmp_path):
    header = io.BytesIO()
    description = {"descr": "|u1", "fortran_order": False, "shape": (10**7, 1000, 1000)}
    np.lib.format.write_array_header_1_0(header, description)
    path = tmp_path / "mnist.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{key}.npy", header.getvalue())
    assert f"{path}: cannot be read" in fault(tmp_path)


@pytest.mark.parametrize(
    ("change", "notice"),
    [
        (lambda arrays: arrays.update({TRAIN_LABELS: np.full(30, 7, np.uint8)}), "every training label is 7"),
        (
            lambda arrays: arrays.update(
                {TEST_IMAGES: arrays[TRAIN_IMAGES], TEST_LABELS: arrays[TRAIN_LABELS]}
            ),
            "train and test are the same data",
        ),
        (
            lambda arrays: arrays.update(
                {TRAIN_IMAGES: arrays[TRAIN_IMAGES][:9], TRAIN_LABELS: arrays[TRAIN_LABELS][:9]}
            ),
            r"more test (20) than train (9) images: swapped?",
        ),
    ],
)
def test_what_looks_odd_but_may_be_meant_is_said(small, tmp_path, change, notice):
    change(small.arrays)
    assert notice in load_folder("mnist", small.write(tmp_path)).notice


def test_real_mnist_is_recognized(real_mnist):
    splits = load_folder("mnist", real_mnist)
    assert splits.train.images.shape == (60_000, 28, 28, 1) and splits.test.num_examples == 10_000
    np.testing.assert_array_equal(splits.train.labels[:10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
    assert splits.train.source.endswith("SHA-256 as published")


def test_real_mnist_under_another_name_is_refused(real_mnist):
    message = fault(real_mnist)
    assert "that of mnist's train images, not of fashion_mnist's" in message and "data.name=mnist" in message


@pytest.mark.parametrize("unpack", [False, True])
def test_swapped_train_and_test_of_real_mnist_are_refused(real_mnist, tmp_path, unpack):
    for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS):
        other = name.replace("train", "-").replace("t10k", "train").replace("--", "t10k-")
        blob = (real_mnist / f"{name}.gz").read_bytes()
        (tmp_path / f"{other}.gz").write_bytes(gzip.decompress(blob) if unpack else blob)
    message = fault(tmp_path, "mnist")
    assert "that of mnist's test images; expected the train images: are train and test swapped?" in message


def test_swapped_counts_are_refused_where_the_content_is_unknown(make_small, tmp_path):
    small = make_small(num_train=10_000, num_test=60_000, size=1)
    assert "expected 60000 and 10000: are train and test swapped?" in fault(small.write(tmp_path))


def test_the_variable_speaks_of_mnist_alone(small, tmp_path):
    small.write(tmp_path)
    assert load_from_variable("mnist", tmp_path).train.num_examples == 30
    assert load_from_variable("fashion_mnist", tmp_path) is None
    small.write(tmp_path / "fashion_mnist")
    assert load_from_variable("fashion_mnist", tmp_path).train.class_names[9] == "Ankle boot"


def test_the_variable_may_name_a_folder_with_emnist_files(make_small, tmp_path):
    digits = make_small()
    digits.write(tmp_path, rename=lambda name: f"emnist-digits-{name}".replace("t10k", "test"))
    assert load_from_variable("emnist/digits", tmp_path).train.num_examples == 30
    assert load_from_variable("emnist/letters", tmp_path) is None


def test_a_fault_behind_the_variable_names_the_variable(tmp_path):
    with pytest.raises(DataError, match="does not exist.*MNIST_JAX_DATA_DIR names this folder"):
        load_from_variable("mnist", tmp_path / "absent")


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("gz", [False, True])
def test_kaggles_archive_has_each_file_in_a_folder_of_nearly_the_same_name(small, tmp_path, beside, gz):
    small.write(tmp_path / "plain", gz=gz)
    archive = tmp_path / "archive"
    archive.mkdir()
    for path in sorted((tmp_path / "plain").iterdir()):
        folder = archive / path.name.removesuffix(".gz")
        folder.mkdir()
        (folder / path.name.replace("-idx", ".idx" if beside else "-idx")).write_bytes(path.read_bytes())
        if beside:
            (archive / path.name.replace("-idx", ".idx")).write_bytes(path.read_bytes())
    splits = load_folder("mnist", archive)
    np.testing.assert_array_equal(splits.train.images[..., 0], small.arrays[TRAIN_IMAGES])
    assert splits.train.name == "archive"


def test_real_mnist_is_known_by_its_fingerprint_whatever_its_folder(real_mnist, tmp_path):
    (tmp_path / "of mine").symlink_to(real_mnist)
    splits = load_folder("mnist", tmp_path / "of mine")
    assert splits.train.name == "mnist" and not splits.train.is_drawn
    assert splits.preparation.form == "mnist" and splits.remarks == ()


def test_what_nobody_named_is_not_called_mnist(small, tmp_path):
    splits = load_folder("mnist", small.write(tmp_path / "doodles"))
    assert splits.train.name == splits.test.name == "doodles"
    assert splits.preparation.form == "resized"
    assert load_folder("kmnist", tmp_path / "doodles").train.name == "kmnist"


# --- Folders from somebody else ---


def in_place_of_idx(folder: Path) -> Path:
    (SmallSet().write(folder) / f"{TRAIN_IMAGES}.gz").unlink()
    return folder / TRAIN_IMAGES


def in_place_of_npy(folder: Path) -> Path:
    np.save(folder / "y_train.npy", [1, 2])
    return folder / "x_train.npy"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("fashion_mnist", in_place_of_idx),
        ("fashion_mnist", in_place_of_npy),
        ("fashion_mnist", lambda folder: folder / "mnist.npz"),
        ("cifar10", lambda folder: folder / "cifar-10-binary.tar.gz"),
    ],
    ids=["IDX", "npy", "npz", "CIFAR"],
)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "zero"])
def test_a_file_that_is_none_is_not_waited_for(tmp_path, name, place, make):
    (tmp_path / "data").mkdir()
    path = place(tmp_path / "data")
    make(path)
    assert f"{path.name}: cannot be read: it is not a regular file" in fault(tmp_path / "data", name)


def test_few_bytes_that_become_many_are_refused(tmp_path, small, monkeypatch):
    monkeypatch.setattr("mnist_jax.runtime.regular_file._LARGE_BYTES", 10_000)
    small.arrays[TRAIN_IMAGES] = np.zeros((1000, 28, 28), np.uint8)
    gzipped, holes, archive = (tmp_path / name for name in ("gzipped", "holes", "archive"))
    small.write(gzipped)
    header = encode_idx(small.arrays[TRAIN_IMAGES])[:16]
    (in_place_of_idx(holes)).write_bytes(header)
    with open(holes / TRAIN_IMAGES, "r+b") as file:
        file.truncate(2**30 + 16)
    archive.mkdir()
    np.savez_compressed(
        archive / "mnist.npz", x_train=small.arrays[TRAIN_IMAGES], y_train=np.zeros(1000, int)
    )
    for folder in (gzipped, holes, archive):
        assert "bytes unpack to more than 100 times as many" in fault(folder)
