import io
import struct

import numpy as np
import pytest
from scipy.io import savemat

from mnist_jax.data import svhn
from mnist_jax.data.assemble import Role
from mnist_jax.data.folder import load_folder, load_from_variable
from mnist_jax.data.svhn import parse_svhn
from mnist_jax.errors import DataError

RNG = np.random.default_rng(0)


def mat(X, y, *, compress=True, **more) -> bytes:  # noqa: N803
    stream = io.BytesIO()
    savemat(stream, {"X": X, "y": y, **more}, do_compression=compress)
    return stream.getvalue()


def arrays(num: int) -> tuple[np.ndarray, np.ndarray]:
    return (
        RNG.integers(0, 256, (32, 32, 3, num), np.uint8),
        (np.arange(num) % 10 + 1).astype(np.uint8)[:, None],
    )


@pytest.fixture
def content():
    return {"train": arrays(12), "test": arrays(11)}


def write(folder, content, **options):
    for split, (images, labels) in content.items():
        (folder / f"{split}_32x32.mat").write_bytes(mat(images, labels, **options))
    return folder


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("name", ["svhn_cropped", "mnist", "house_numbers"])
def test_the_two_files_are_read(content, tmp_path, compress, name):
    splits = load_folder(name, write(tmp_path, content, compress=compress))
    for split in ("train", "test"):
        images, labels = content[split]
        dataset = getattr(splits, split)
        for number in range(len(labels)):
            np.testing.assert_array_equal(dataset.images[number], images[..., number])
        # 10 stands for the digit 0.
        np.testing.assert_array_equal(dataset.labels, labels[:, 0] % 10)
    assert splits.train.class_names == tuple("0123456789")
    assert splits.train.name == ("house_numbers" if name == "house_numbers" else "svhn_cropped")


def test_the_variables_folder_may_hold_them(content, tmp_path):
    assert load_from_variable("svhn_cropped", tmp_path) is None
    assert load_from_variable("svhn_cropped", write(tmp_path, content)).test.num_examples == 11


def test_labels_that_matlab_saved_again_as_floating_point_are_read(content, tmp_path):
    images, labels = content["train"]
    content["train"] = images, labels.astype(np.float64)
    assert load_folder("svhn_cropped", write(tmp_path, content)).train.labels[9] == 0


def test_a_missing_file_is_named(content, tmp_path):
    del content["test"]
    with pytest.raises(DataError, match="test_32x32.mat: cannot be read: No such file"):
        load_folder("svhn_cropped", write(tmp_path, content))


IMAGES, LABELS = arrays(12)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "cannot be read"),
        (b"<html>Please log in</html>" * 20, "cannot be read"),
        (mat(IMAGES, LABELS)[:-500], "cannot be read"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512), "cannot be read"),
        (mat(IMAGES, LABELS * 0), "label 0 at position 0 is out of range; expected 1 to 10"),
        (mat(IMAGES, LABELS + 10), "label 11 at position 0"),
        (mat(IMAGES, LABELS + 0.5), r"y: float64 \[12, 1\]"),
        (mat(IMAGES, LABELS + np.nan), r"y: float64 \[12, 1\]"),
        (mat(IMAGES, LABELS[:-1]), r"y: uint8 \[11, 1\]"),
        (mat(IMAGES / 255, LABELS), r"X: float64 \[32, 32, 3, 12\]"),
        (mat(IMAGES[..., 0], LABELS), r"X: uint8 \[32, 32, 3\]"),
        (mat(IMAGES.transpose(3, 0, 1, 2), LABELS), r"X: uint8 \[12, 32, 32, 3\]"),
        (mat(IMAGES, LABELS).replace(b"\0\1IM", b"\0\2IM"), "no MATLAB file of these versions"),
        (mat("text", LABELS), "something else than numbers"),
    ],
    ids=range(14),
)
def test_a_file_that_does_not_fit_is_one_line(blob, message):
    good = "test_32x32.mat", mat(*arrays(3))
    with pytest.raises(DataError, match=message) as raised:
        parse_svhn({"train": ("a/train_32x32.mat", blob), "test": good})
    text = str(raised.value)
    assert text.startswith("a/train_32x32.mat: ") and "\n" not in text and "expected" in text


@pytest.mark.parametrize("compress", [True, False])
def test_any_damaged_byte_is_one_line_or_harmless(compress):
    blob = mat(IMAGES[..., :2], LABELS[:2], compress=compress)
    for position in [*range(0, 300), *RNG.integers(0, len(blob), 200)]:
        damaged = bytearray(blob)
        damaged[position] ^= int(RNG.integers(1, 256))
        try:
            parse_svhn({"train": ("train_32x32.mat", bytes(damaged))})
        except DataError as error:
            assert "\n" not in str(error)


def test_what_unpacks_to_more_than_there_can_be_is_refused(monkeypatch):
    monkeypatch.setattr(svhn, "_MAX_UNPACKED_BYTES", 1 << 15)
    with pytest.raises(DataError, match="more than 0 MiB"):
        parse_svhn({"train": ("train_32x32.mat", mat(IMAGES, LABELS))})


def test_arrays_are_read_as_scipy_wrote_them():
    """Names and values of up to 4 bytes are kept beside their size; what is not asked for may be anything."""
    wanted = {
        "a": np.array([[1, 2, 3]], np.uint8),
        "longer_name": RNG.normal(size=(2, 3, 4)),
        "i": np.array([[-7]], np.int16),
    }
    stream = io.BytesIO()
    savemat(stream, {**wanted, "text": "hello", "nested": {"x": 1}, "cells": np.array([1, "a"], object)})
    found = svhn.read_mat(stream.getvalue(), wanted)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_a_file_of_a_big_endian_machine_is_read():
    def element(kind: int, content: bytes) -> bytes:
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    def matrix(name: bytes, array: np.ndarray) -> bytes:
        parts = element(6, struct.pack(">II", 9, 0)) + element(
            5, struct.pack(f">{array.ndim}i", *array.shape)
        )
        return element(14, parts + element(1, name) + element(2, array.tobytes(order="F")))

    blob = bytes(124) + b"\1\0MI" + matrix(b"X", IMAGES) + matrix(b"y", LABELS)
    parts = parse_svhn({"train": ("train_32x32.mat", blob)})
    np.testing.assert_array_equal(parts[Role("train", "images")].array[3], IMAGES[..., 3])
