import gzip
import io
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mnist_jax.data.cifar import CIFAR, read_cifar
from mnist_jax.data.folder import load_folder, load_from_variable
from mnist_jax.errors import DataError

# As published, with an empty line at the end.
META = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"


class SmallCifar:
    """A few random images in the files of the binary version, written from its description alone."""

    def __init__(self, name: str):
        self.name = name
        self.is_10 = name == "cifar10"
        self.folder = "cifar-10-batches-bin" if self.is_10 else "cifar-100-binary"
        self.archive = "cifar-10-binary.tar.gz" if self.is_10 else "cifar-100-binary.tar.gz"
        rng = np.random.default_rng(0)
        self.images = {"train": rng.integers(0, 256, (20, 32, 32, 3), np.uint8)}
        self.images["test"] = rng.integers(0, 256, (6, 32, 32, 3), np.uint8)
        number = 10 if self.is_10 else 100
        self.labels = {split: rng.integers(0, number, len(x)) for split, x in self.images.items()}
        if self.is_10:
            self.files = {f"data_batch_{i}.bin": self.records("train", 4 * i - 4, 4 * i) for i in range(1, 6)}
            self.files["test_batch.bin"] = self.records("test", 0, 6)
            self.files["batches.meta.txt"] = META
        else:
            self.files = {f"{split}.bin": self.records(split, 0, 20) for split in ("train", "test")}

    def records(self, split: str, start: int, stop: int) -> bytes:
        content = b""
        for image, label in zip(self.images[split][start:stop], self.labels[split][start:stop], strict=True):
            content += bytes([label] if self.is_10 else [label % 20, label])
            content += b"".join(image[:, :, channel].tobytes() for channel in range(3))
        return content

    def write_folder(self, root: Path) -> Path:
        folder = root / self.folder
        folder.mkdir(parents=True)
        for file, content in self.files.items():
            (folder / file).write_bytes(content)
        return folder

    def tar(self, **more: bytes) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for file, content in {**{f"{self.folder}/{k}": v for k, v in self.files.items()}, **more}.items():
                member = tarfile.TarInfo(file)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return stream.getvalue()

    def write_archive(self, root: Path, blob: bytes | None = None) -> Path:
        root.mkdir(exist_ok=True)
        (root / self.archive).write_bytes(gzip.compress(self.tar(), 1) if blob is None else blob)
        return root


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request) -> SmallCifar:
    return SmallCifar(request.param)


@pytest.fixture
def cifar10() -> SmallCifar:
    return SmallCifar("cifar10")


def fault(name: str, folder: Path) -> str:
    """The one line that loading this folder fails with."""
    with pytest.raises(DataError) as raised:
        load_folder(name, folder)
    message = str(raised.value)
    assert "\n" not in message and "expected" in message and str(folder) in message
    return message


def expect_content(splits, cifar: SmallCifar) -> None:
    for split in ("train", "test"):
        dataset = getattr(splits, split)
        np.testing.assert_array_equal(dataset.images, cifar.images[split])
        np.testing.assert_array_equal(dataset.labels, cifar.labels[split])


@pytest.mark.parametrize("name", ["named", "default"])
@pytest.mark.parametrize("where", ["beside", "inside", "below"])
def test_the_extracted_folder_is_read(cifar, tmp_path, where, name):
    root = tmp_path / "data"
    folder = cifar.write_folder(root / cifar.name if where == "below" else root)
    splits = load_folder(cifar.name if name == "named" else "mnist", folder if where == "inside" else root)
    expect_content(splits, cifar)
    assert splits.train.name == cifar.name and len(splits.train.class_names) == (10 if cifar.is_10 else 100)
    first = ("airplane", "automobile") if cifar.is_10 else ("apple", "aquarium_fish")
    assert splits.train.class_names[:2] == first
    assert str(folder) in splits.train.source and splits.preparation.form == "resized"


@pytest.mark.parametrize("is_gzipped", [True, False])
def test_the_archive_is_read(cifar, tmp_path, is_gzipped):
    if is_gzipped:
        cifar.write_archive(tmp_path)
    else:
        (tmp_path / cifar.archive.removesuffix(".gz")).write_bytes(cifar.tar())
    expect_content(load_folder(cifar.name, tmp_path), cifar)


def test_a_name_of_ones_own_is_kept_with_the_class_names(cifar10, tmp_path):
    cifar10.write_folder(tmp_path)
    splits = load_folder("my_photos", tmp_path)
    expect_content(splits, cifar10)
    assert splits.train.name == "my_photos" and splits.train.class_names[-1] == "truck"


def test_the_variables_folder_may_hold_it_beside_mnist(cifar10, small, tmp_path):
    small.write(tmp_path)
    cifar10.write_archive(tmp_path)
    expect_content(load_from_variable("cifar10", tmp_path), cifar10)
    assert load_from_variable("cifar100", tmp_path) is None
    assert load_folder("mnist", tmp_path).train.image_shape == (28, 28, 1)


def test_both_in_one_folder_are_told_apart_by_name(cifar10, tmp_path):
    cifar10.write_folder(tmp_path)
    hundred = SmallCifar("cifar100")
    hundred.write_archive(tmp_path)
    assert "holds cifar10 and cifar100" in fault("mnist", tmp_path)
    expect_content(load_folder("cifar10", tmp_path), cifar10)
    expect_content(load_folder("cifar100", tmp_path), hundred)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda files: files.pop("data_batch_3.bin"), "lacks data_batch_3.bin"),
        (lambda files: files.update({"test_batch.bin": b""}), "test_batch.bin: 0 bytes"),
        (lambda files: files.update({"data_batch_1.bin": bytes(3072)}), "data_batch_1.bin: 3072 bytes"),
        (lambda files: files.update({"data_batch_2.bin": b"\n" + bytes(3072)}), "data_batch_2.bin: label 10"),
        (lambda files: files.update({"batches.meta.txt": b"cat\ndog\n"}), "other classes than cifar10's"),
        (lambda files: files.update({"batches.meta.txt": b""}), "other classes than cifar10's"),
    ],
)
def test_damage_is_named_in_the_folder_and_in_the_archive(cifar10, tmp_path, damage, message):
    damage(cifar10.files)
    cifar10.write_folder(tmp_path / "folder")
    assert message in fault("cifar10", tmp_path / "folder")
    assert message in fault("cifar10", cifar10.write_archive(tmp_path / "archive"))


def test_the_other_ones_files_and_labels_out_of_range_are_named(tmp_path):
    hundred = SmallCifar("cifar100")
    hundred.files["train.bin"] = bytes([20, 0]) + bytes(3072)
    hundred.write_folder(tmp_path)
    assert "coarse labels: label 20" in fault("cifar100", tmp_path)
    hundred.files["train.bin"] = SmallCifar("cifar10").files["test_batch.bin"]
    assert "records of 3074 bytes" in fault("cifar100", hundred.write_folder(tmp_path / "other").parent)


def sparse_file(name: str, size: int) -> bytes:
    """A file in a tar archive that claims this size and consists of one hole."""
    member = tarfile.TarInfo(name)
    member.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(size),
        "GNU.sparse.map": "0,0",
    }
    return member.tobuf(tarfile.PAX_FORMAT)


def long_name(name: bytes) -> bytes:
    """The header in a tar archive that names the member behind it."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, len(name)
    return member.tobuf(tarfile.GNU_FORMAT) + name.ljust(512, b"\0")


def damaged_archives() -> dict[str, tuple[bytes, str]]:
    small = SmallCifar("cifar10")
    plain, packed = small.tar(), gzip.compress(small.tar(), 1)
    lacking = SmallCifar("cifar10")
    del lacking.files["test_batch.bin"]
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 255
    return {
        "cut gzip": (packed[:-20], "cut short"),
        "cut tar": (plain[: len(plain) // 2], "no intact archive|lacks"),
        "flipped": (bytes(flipped), "damaged"),
        "page": (b"<html>Please log in</html>", "no intact archive"),
        "empty": (b"", "no intact archive"),
        "nothing in it": (gzip.compress(bytes(10240)), "lacks data_batch_1.bin"),
        "absolute": (gzip.compress(small.tar(**{"/etc/passwd": b"x"})), "holds /etc/passwd, outside"),
        "above": (gzip.compress(small.tar(**{"a/../../x": b"x"})), "holds a/../../x, outside"),
        "pickled": (
            gzip.compress(small.tar(**{"cifar-10-batches-py/data_batch_1": b"x"})),
            "Python or MATLAB version",
        ),
        "sparse": (
            sparse_file("cifar-10-batches-bin/test_batch.bin", 3073 << 30) + lacking.tar(),
            "lacks test_batch.bin",
        ),
        "names without end": (long_name(b"a") * 3000 + small.tar(), "no intact archive"),
        "huge": (gzip.compress(bytes(1 << 20), 1) * 257, "unpacks to more than 256 MiB"),
    }


@pytest.mark.parametrize("kind", damaged_archives())
def test_a_damaged_archive_is_one_line(cifar10, tmp_path, kind):
    blob, message = damaged_archives()[kind]
    assert re.search(message, fault("cifar10", cifar10.write_archive(tmp_path, blob)))


def test_a_link_in_the_archive_is_not_followed(cifar10, tmp_path):
    secret = cifar10.files.pop("test_batch.bin")
    (tmp_path / "secret").write_bytes(secret)
    stream = io.BytesIO(cifar10.tar())
    with tarfile.open(fileobj=stream, mode="a") as archive:
        member = tarfile.TarInfo(f"{cifar10.folder}/test_batch.bin")
        member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(member)
    assert "lacks test_batch.bin" in fault("cifar10", cifar10.write_archive(tmp_path, stream.getvalue()))


@pytest.mark.parametrize("name", ["cifar10", "mnist", "cifar100"])
def test_the_pickled_version_is_refused_and_never_unpickled(tmp_path, name):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    layout = CIFAR["cifar10" if name == "mnist" else name]
    folder = tmp_path / layout.other_folders[0]
    folder.mkdir()
    (folder / ("data_batch_1" if name != "cifar100" else "train")).write_bytes(pickle.dumps(Trap()))
    for place in (tmp_path, folder):
        message = fault(name, place)
        assert "not read" in message and f"expected the binary version, {layout.archive}" in message
    assert not (tmp_path / "sprung").exists()


def test_the_pickled_archive_is_refused(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"x")
    assert "expected the binary version, cifar-10-binary.tar.gz" in fault("cifar10", tmp_path)


def test_fine_labels_are_the_classes_of_cifar100(tmp_path):
    hundred = SmallCifar("cifar100")
    hundred.labels["test"][:3] = (99, 0, 47)
    hundred.files["test.bin"] = hundred.records("test", 0, 6)
    splits = load_folder("cifar100", hundred.write_folder(tmp_path))
    names = [splits.test.class_names[label] for label in splits.test.labels[:3]]
    assert names == ["worm", "apple", "maple_tree"]


def test_a_folder_that_cannot_be_read_is_named(cifar10, tmp_path):
    folder = cifar10.write_folder(tmp_path)
    (folder / "test_batch.bin").unlink()
    (folder / "test_batch.bin").mkdir()
    with pytest.raises(DataError, match="test_batch.bin: cannot be read"):
        read_cifar(folder, "cifar10")
