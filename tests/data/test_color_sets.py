"""CIFAR-10, CIFAR-100 and SVHN from small files of the true format, in a folder and through the registry."""

import io
import tarfile

import numpy as np
import pytest
from scipy.io import savemat

from mnist_jax.data import tfds as tfds_source
from mnist_jax.data.cifar import CIFAR, read_cifar_archive
from mnist_jax.data.folder import load_folder
from mnist_jax.data.svhn import SVHN
from mnist_jax.data.tfds import load_tfds
from mnist_jax.errors import DataError

PER_FILE = 12


def make_cifar(name, seed=0):
    """The files of the binary version with a few records each, and the images and labels they hold."""
    rng, layout = np.random.default_rng(seed), CIFAR[name]
    files, arrays = {}, {}
    for file in (*layout.train, layout.test):
        images = rng.integers(0, 256, (PER_FILE, 32, 32, 3)).astype(np.uint8)
        labels = (np.arange(PER_FILE) * 7 % layout.num_classes).astype(np.uint8)
        coarse = [(labels // 5)[:, None]] if layout.label_bytes == 2 else []
        planes = images.transpose(0, 3, 1, 2).reshape(PER_FILE, -1)
        files[file] = np.concatenate([*coarse, labels[:, None], planes], axis=1).astype(np.uint8).tobytes()
        arrays[file] = images, labels
    files[layout.names] = "".join(f"class_{i}\n" for i in range(layout.num_classes)).encode()
    return files, arrays


def pack(files, folder="cifar-binary"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for file, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{file}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def make_svhn(num=20, first=0):
    rng = np.random.default_rng(first)
    images = rng.integers(0, 256, (num, 32, 32, 3)).astype(np.uint8)
    labels = (np.arange(num) + first) % 10
    content = io.BytesIO()
    savemat(content, {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
    return content.getvalue(), images, labels


@pytest.mark.parametrize("name", CIFAR)
@pytest.mark.parametrize("packed", [True, False])
def test_cifar_is_read_from_a_folder(tmp_path, name, packed):
    files, arrays = make_cifar(name)
    if packed:
        (tmp_path / f"cifar-{name[5:]}-binary.tar.gz").write_bytes(pack(files))
    else:
        for file, content in files.items():
            (tmp_path / file).write_bytes(content)
    splits = load_folder("mnist", tmp_path)
    layout = CIFAR[name]
    assert splits.train.name == splits.test.name == name
    assert splits.train.class_names[3] == "class_3"
    for dataset, names in ((splits.train, layout.train), (splits.test, (layout.test,))):
        np.testing.assert_array_equal(dataset.images, np.concatenate([arrays[file][0] for file in names]))
        np.testing.assert_array_equal(dataset.labels, np.concatenate([arrays[file][1] for file in names]))


def test_svhn_is_read_from_a_folder_with_ten_for_zero(tmp_path):
    train, images, labels = make_svhn()
    test, test_images, test_labels = make_svhn(10, 3)
    (tmp_path / "train_32x32.mat").write_bytes(train)
    (tmp_path / "test_32x32.mat").write_bytes(test)
    splits = load_folder("mnist", tmp_path)
    assert (splits.train.name, splits.train.class_names) == (SVHN, tuple("0123456789"))
    np.testing.assert_array_equal(splits.train.images, images)
    np.testing.assert_array_equal(splits.train.labels, labels)
    np.testing.assert_array_equal(splits.test.images, test_images)
    np.testing.assert_array_equal(splits.test.labels, test_labels)


@pytest.fixture
def registry(monkeypatch):
    """Stands for TFDS' registry and its DownloadManager, which tests/data/test_tfds.py goes through."""
    import tensorflow_datasets as tfds

    def serve(files):
        urls = {f"https://example.org/{file}": blob for file, blob in files.items()}
        monkeypatch.setattr(tfds, "builder_cls", lambda name: type("Builder", (), {"url_infos": urls}))
        monkeypatch.setattr(
            tfds_source, "_fetch", lambda name, url_infos, manual_dir: {url: urls[url] for url in url_infos}
        )

    return serve


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_comes_through_the_registry(registry, name):
    files, arrays = make_cifar(name)
    registry({f"cifar-{name[5:]}-binary.tar.gz": pack(files)})
    splits = load_tfds(name)
    assert splits.train.source == "TFDS registry, files from example.org"
    np.testing.assert_array_equal(splits.test.images, arrays[CIFAR[name].test][0])


def test_svhn_comes_through_the_registry_without_the_extra_images(registry):
    train, images, _ = make_svhn()
    registry({"train_32x32.mat": train, "test_32x32.mat": make_svhn(10, 3)[0], "extra_32x32.mat": b"huge"})
    np.testing.assert_array_equal(load_tfds(SVHN).train.images, images)


def test_the_registry_has_these_files():
    tfds = pytest.importorskip("tensorflow_datasets")
    for name in CIFAR:
        (info,) = tfds.builder_cls(name).url_infos.values()
        assert info.filename == f"cifar-{name[5:]}-binary.tar.gz" and len(info.checksum) == 64
    files = {info.filename for info in tfds.builder_cls(SVHN).url_infos.values()}
    assert {"train_32x32.mat", "test_32x32.mat"} <= files


def break_cifar(what):
    files, _ = make_cifar("cifar10")
    if what == "cut off":
        files["data_batch_2.bin"] = files["data_batch_2.bin"][:-5]
    elif what == "label":
        files["test_batch.bin"] = bytes([10]) + files["test_batch.bin"][1:]
    elif what == "missing":
        del files["data_batch_4.bin"]
    elif what == "names":
        files["batches.meta.txt"] = b"one\ntwo\n"
    blob = pack(files)
    return blob[: len(blob) // 2] if what == "archive" else blob


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("cut off", r"a.tar.gz, data_batch_2.bin: 36,871 bytes; expected records of 3,073 bytes"),
        ("label", r"test_batch.bin: label 10 at position 0 is out of range; expected 0 to 9"),
        ("missing", r"data_batch_4.bin missing in the archive; expected cifar-10-binary.tar.gz"),
        ("names", r"batches.meta.txt: 2 names; expected 10, one a class"),
        ("archive", r"a.tar.gz: the archive is damaged"),
    ],
)
def test_damaged_cifar_is_one_line(what, message):
    with pytest.raises(DataError, match=message) as raised:
        read_cifar_archive("cifar10", break_cifar(what), "a.tar.gz")
    assert "\n" not in str(raised.value)


def test_an_archive_writes_nothing_and_reads_no_huge_member(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    files, _ = make_cifar("cifar10")
    splits, _ = read_cifar_archive("cifar10", pack(files, "/../../etc"), "a.tar.gz")
    assert list(here.iterdir()) == [] and len(splits) == 4
    huge = tarfile.TarInfo("test_batch.bin")
    huge.size = 2**40
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(huge)
    with pytest.raises(DataError, match="test_batch.bin has 1,099,511,627,776 bytes; expected at most"):
        read_cifar_archive("cifar10", packed.getvalue(), "a.tar.gz")


@pytest.mark.parametrize("file", ["data_batch_1", "cifar-10-python.tar.gz"])
def test_the_pickled_version_is_refused(tmp_path, file):
    (tmp_path / file).write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match="pickled.*expected cifar-10-binary.tar.gz"):
        load_folder("mnist", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[1], [11]]}, "label 11 at position 1"),
        ({"X": np.zeros((28, 28, 3, 2), np.uint8), "y": [[1], [2]]}, r"expected uint8 \(32, 32, 3, N\)"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "expected a MATLAB file with X and y"),
        (b"no MATLAB file at all", "expected a MATLAB file with X and y"),
    ],
)
def test_damaged_svhn_is_one_line(tmp_path, content, message):
    (tmp_path / "test_32x32.mat").write_bytes(make_svhn()[0])
    if isinstance(content, bytes):
        (tmp_path / "train_32x32.mat").write_bytes(content)
    else:
        savemat(tmp_path / "train_32x32.mat", content)
    with pytest.raises(DataError, match=message) as raised:
        load_folder("mnist", tmp_path)
    assert "\n" not in str(raised.value)
