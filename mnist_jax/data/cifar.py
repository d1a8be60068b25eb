"""CIFAR-10 and CIFAR-100 in their binary version, as an archive or unpacked.

A record is one label byte (CIFAR-100: a coarse and a fine one), then 32x32 pixels of red, of green and of
blue. Source: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from mnist_jax.data.assemble import Part, Role
from mnist_jax.data.dataset import check_labels
from mnist_jax.data.idx import read_bytes
from mnist_jax.errors import DataError

_PIXELS = 3 * 32 * 32
# Of a member of the archive, in bytes: the largest published one is half of it.
_LARGEST_MEMBER = 2 * 50_000 * (2 + _PIXELS)


@dataclass(frozen=True)
class _Layout:
    """The files of one of the two sets: those of train, that of test, that of the names of the classes."""

    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int
    num_classes: int

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test, self.names)


CIFAR = {
    "cifar10": _Layout(
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt", 1, 10
    ),
    "cifar100": _Layout(("train.bin",), "test.bin", "fine_label_names.txt", 2, 100),
}


def find_cifar(folder: Path) -> str:
    """Returns which of the two a folder holds, packed or unpacked; "" for neither.

    Raises:
        DataError: it holds the version for Python, which is pickled.
    """
    for name, layout in CIFAR.items():
        if (folder / _archive(name)).is_file() or all((folder / file).is_file() for file in layout.files):
            return name
    for name, file in (("cifar10", "data_batch_1"), ("cifar100", "fine_label_names")):
        pickled = folder / _archive(name).replace("binary", "python")
        if (folder / file).is_file() or pickled.is_file():
            raise DataError(
                f"{folder}: {name}'s version for Python is pickled, and unpickling runs whatever is in it; "
                f"expected {_archive(name)}"
            )
    return ""


def read_cifar_folder(name: str, folder: Path) -> tuple[dict[Role, Part], tuple[str, ...]]:
    """As `read_cifar_archive`, from the archive in a folder or from its files, unpacked there."""
    archive = folder / _archive(name)
    if archive.is_file():
        return read_cifar_archive(name, read_bytes(archive), str(archive))
    return _read(name, str(folder), lambda file: read_bytes(folder / file))


def read_cifar_archive(name: str, blob: bytes, where: str) -> tuple[dict[Role, Part], tuple[str, ...]]:
    """Reads the published ``.tar.gz``; nothing is written to the disk.

    Args:
        name: ``cifar10`` or ``cifar100``.
        blob: the archive.
        where: its name, for messages.

    Returns:
        images uint8 ``[N, 32, 32, 3]`` and labels uint8 ``[N]`` of train and test, and the classes' names.

    Raises:
        DataError: it is damaged, or a file in it is missing, cut off or has a label that is none.
    """
    wanted, found = set(CIFAR[name].files), dict[str, bytes]()
    try:
        with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as archive:
            for member in archive:
                file = PurePosixPath(member.name).name
                if file not in wanted or not member.isfile():
                    continue
                if member.size > _LARGEST_MEMBER:
                    raise DataError(
                        f"{where}: {file} has {member.size:,} bytes; expected at most {_LARGEST_MEMBER:,}"
                    )
                content = archive.extractfile(member)
                found[file] = b"" if content is None else content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{where}: the archive is damaged ({error}); expected {_archive(name)}") from error
    return _read(name, where, found.__getitem__, found)


def _read(
    name: str, where: str, read: Callable[[str], bytes], found: Mapping[str, bytes] | None = None
) -> tuple[dict[Role, Part], tuple[str, ...]]:
    layout = CIFAR[name]
    missing = [] if found is None else [file for file in layout.files if file not in found]
    if missing:
        raise DataError(f"{where}: {', '.join(missing)} missing in the archive; expected {_archive(name)}")
    class_names = tuple(read(layout.names).decode("utf-8", "replace").split())
    if len(class_names) != layout.num_classes:
        raise DataError(
            f"{where}, {layout.names}: {len(class_names)} names; expected {layout.num_classes}, one a class"
        )
    parts = {}
    for split, files in (("train", layout.train), ("test", (layout.test,))):
        records = [_records(read(file), f"{where}, {file}", layout) for file in files]
        images, labels = (np.concatenate(arrays) for arrays in zip(*records, strict=True))
        parts[Role(split, "images")] = Part(f"{where}, {split}", images)
        parts[Role(split, "labels")] = Part(f"{where}, {split}", labels)
    return parts, class_names


def _records(content: bytes, where: str, layout: _Layout) -> tuple[np.ndarray, np.ndarray]:
    length = layout.label_bytes + _PIXELS
    if not content or len(content) % length:
        raise DataError(f"{where}: {len(content):,} bytes; expected records of {length:,} bytes (cut off?)")
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    labels = records[:, layout.label_bytes - 1]
    check_labels(labels, layout.num_classes, where)
    images = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.copy()


def _archive(name: str) -> str:
    return f"cifar-{name.removeprefix('cifar')}-binary.tar.gz"
