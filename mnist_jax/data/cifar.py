"""CIFAR-10 and CIFAR-100 as published in the binary version: a folder of records, or the archive of it.

Source: https://www.cs.toronto.edu/~kriz/cifar.html. A record is one label byte (two for CIFAR-100: the coarse
label, then the fine one, which is the class) and 3,072 bytes of pixels: 32 rows of 32 red ones, then as many
green ones, then blue ones.
"""

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from mnist_jax.data.assemble import Part, Role
from mnist_jax.data.dataset import check_labels
from mnist_jax.data.files import GZIP_MAGIC, open_gzip, read_bytes, readable
from mnist_jax.data.known import FAMILY
from mnist_jax.errors import DataError

_IMAGE_SHAPE = (3, 32, 32)
_NUM_COARSE_CLASSES = 20

# The published archives unpack to 185 MB.
_MAX_UNPACKED_BYTES = 1 << 28


@dataclass(frozen=True)
class Layout:
    """The files of one of the two."""

    archive: str  # name of the published archive
    folder: str  # name of the folder in it
    files: dict[str, tuple[str, ...]]  # the files of records of ``train`` and ``test``
    names_file: str  # the names of the classes, one a line
    num_label_bytes: int  # label bytes a record, the class last
    other_folders: tuple[str, ...]  # the folders of the versions that are not read


CIFAR = {
    "cifar10": Layout(
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
        "batches.meta.txt",
        1,
        ("cifar-10-batches-py", "cifar-10-batches-mat"),
    ),
    "cifar100": Layout(
        "cifar-100-binary.tar.gz",
        "cifar-100-binary",
        {"train": ("train.bin",), "test": ("test.bin",)},
        "fine_label_names.txt",
        2,
        ("cifar-100-python", "cifar-100-matlab"),
    ),
}


def find_cifar(folder: Path, name: str) -> Path | None:
    """Returns where a folder has ``cifar10`` or ``cifar100``: a folder of records, or an archive; else None.

    Raises:
        DataError: if only a version is there that is not read.
    """
    layout = CIFAR[name]
    for records in (folder, folder / layout.folder):
        # Any of them: a file that is missing is a fault to name.
        if any((records / file).is_file() for files in layout.files.values() for file in files):
            return records
    # Browsers take the .gz off.
    for archive in (folder / layout.archive, folder / layout.archive.removesuffix(".gz")):
        if os.path.lexists(archive):
            return archive
    spare = layout.archive.replace("binary", "python"), layout.archive.replace("binary", "matlab")
    for other in (*layout.other_folders, *spare):
        if folder.name == other or os.path.lexists(folder / other):
            where = folder if folder.name == other else folder / other
            raise DataError(f"{readable(where)}: {_not_read(layout)}")
    return None


def read_cifar(path: Path, name: str) -> dict[Role, Part]:
    """Reads ``cifar10`` or ``cifar100`` from a folder of records or an archive.

    Returns:
        for each of ``ROLES`` images uint8 ``[N, 32, 32, 3]`` or labels uint8 ``[N]``.

    Raises:
        DataError: naming the file, what is wrong with it and what would be right.
    """
    where = readable(path)
    if not path.is_dir():
        return parse_cifar_archive(read_bytes(path), name, where)
    return _parse(lambda file: read_bytes(path / file) if os.path.lexists(path / file) else None, name, where)


def parse_cifar_archive(blob: bytes, name: str, where: str) -> dict[Role, Part]:
    """Parses the bytes of an archive, gzipped or not; nothing is unpacked to the disk.

    Returns and raises what `read_cifar` does; ``where`` is the file's name for messages.
    """
    layout = CIFAR[name]
    try:
        with tarfile.open(fileobj=io.BytesIO(_unzip(blob, where)), mode="r:") as archive:
            members = {member.name: member for member in archive}
            for path in map(PurePosixPath, members):
                if path.is_absolute() or ".." in path.parts:
                    raise DataError(
                        f"{where}: holds {readable(path)}, outside of its folder; expected {layout.archive} "
                        "as published"
                    )
            if any(name.split("/")[0] in layout.other_folders for name in members):
                raise DataError(f"{where}: {_not_read(layout)}")

            def read(file: str) -> bytes | None:
                member = members.get(f"{layout.folder}/{file}")
                # A sparse file claims any size, and reading it fills memory with its holes.
                if member is None or not member.isreg() or member.issparse():
                    return None
                stream = archive.extractfile(member)
                return None if stream is None else stream.read()

            return _parse(read, name, where)
    # tarfile calls itself for every header of a member that only continues the one before.
    except (tarfile.TarError, OSError, ValueError, EOFError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{where}: no intact archive ({reason}); expected {layout.archive}") from error


def _unzip(blob: bytes, where: str) -> bytes:
    if not blob.startswith(GZIP_MAGIC):
        return blob
    with open_gzip(blob, where, "archive") as stream:
        content = stream.read(_MAX_UNPACKED_BYTES + 1)
    if len(content) > _MAX_UNPACKED_BYTES:
        raise DataError(
            f"{where}: unpacks to more than {_MAX_UNPACKED_BYTES >> 20} MiB; "
            "expected the archive as published"
        )
    return content


def _not_read(layout: Layout) -> str:
    return (
        "the Python or MATLAB version, which is not read (pickled files can run any program); expected the "
        f"binary version, {layout.archive} from https://www.cs.toronto.edu/~kriz/cifar.html"
    )


def _parse(read: Callable[[str], bytes | None], name: str, where: str) -> dict[Role, Part]:
    """Parses the files that ``read`` returns by name, None for one that is not there."""
    layout = CIFAR[name]
    _check_class_names(read(layout.names_file), name, f"{where}/{layout.names_file}")
    parts = {}
    for split, files in layout.files.items():
        batches = []
        for file in files:
            blob = read(file)
            if blob is None:
                raise DataError(f"{where}: lacks {file}; expected {', '.join(files)}")
            batches.append(_parse_records(blob, name, f"{where}/{file}"))
        split_where = f"{where}/{files[0]}" if len(files) == 1 else where
        images, labels = map(np.concatenate, zip(*batches, strict=True))
        parts[Role(split, "images")] = Part(split_where, images)
        parts[Role(split, "labels")] = Part(split_where, labels)
    return parts


def _check_class_names(blob: bytes | None, name: str, where: str) -> None:
    expected = FAMILY[name].class_names
    found = expected if blob is None else tuple(blob.decode("utf-8", "replace").split())
    if found != expected:
        odd = next((a for a, b in zip(found, expected, strict=False) if a != b), f"{len(found)} names")
        raise DataError(
            f"{where}: other classes than {name}'s ({readable(odd)[:40]}); "
            f"expected {', '.join(expected[:3])}, ..., in this order"
        )


def _parse_records(blob: bytes, name: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    num_label_bytes = CIFAR[name].num_label_bytes
    record_bytes = num_label_bytes + int(np.prod(_IMAGE_SHAPE))
    if not blob or len(blob) % record_bytes:
        raise DataError(
            f"{where}: {len(blob)} bytes; expected {name}'s records of {record_bytes} bytes each, complete"
        )
    records = np.frombuffer(blob, np.uint8).reshape(-1, record_bytes)
    if num_label_bytes == 2:
        check_labels(records[:, 0], _NUM_COARSE_CLASSES, f"{where}, coarse labels")
    labels = records[:, num_label_bytes - 1]
    check_labels(labels, len(FAMILY[name].class_names), where)
    planes = records[:, num_label_bytes:].reshape(-1, *_IMAGE_SHAPE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels
