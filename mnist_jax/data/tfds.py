"""Source 3: TensorFlow Datasets without TensorFlow.

For MNIST's family, CIFAR and SVHN, TFDS gives the URLs, sizes and SHA-256 (its registry) and fetches and
checks the files (its DownloadManager); they are parsed here, because TFDS' own preparation needs TensorFlow.
Any other image data set is read where it is prepared as array_record, or prepared where TensorFlow is
installed.
"""

import contextlib
import difflib
import importlib.util
import io
import sys
import tempfile
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np

from mnist_jax.data.assemble import ROLES, Role, assemble
from mnist_jax.data.cifar import CIFAR, parse_cifar_archive
from mnist_jax.data.dataset import Dataset, Splits
from mnist_jax.data.files import read_bytes
from mnist_jax.data.folder import idx_parts
from mnist_jax.data.known import EMBEDDED_NAME, FAMILY
from mnist_jax.data.svhn import SVHN, SVHN_FILES, parse_svhn
from mnist_jax.errors import DataError

# With TFDS' import before it and the fallback's parsing after it, the decision stays under 5 seconds.
PROBE_SECONDS = 3.0
_ADVICE = "try again, or download the files elsewhere and set data.dir or MNIST_JAX_DATA_DIR to their folder"


class UnreachableError(DataError):
    """The data set's host could not be reached, or the connection broke."""


def load_tfds(name: str, manual_dir: Path | None = None) -> Splits:
    """Loads a data set that TFDS knows.

    Args:
        name: as TFDS spells it: "mnist", "fashion_mnist", "kmnist", "emnist/letters", "cifar10",
            "cifar100", "svhn_cropped", or any other image classification set.
        manual_dir: for those named here: a folder with the published files, used in place of a download,
            checked against the registry alike.

    Raises:
        UnreachableError: if a download is needed and the network does not allow it.
        DataError: if TFDS does not know the name, a download has the wrong SHA-256, or the set has no
            train and test split of images of one size with one label each.
    """
    if name in FAMILY:
        return _load_family(name, manual_dir)
    return _load_prepared(name)


def probe(url: str, timeout_seconds: float = PROBE_SECONDS) -> str:
    """Asks whether a URL can be fetched, name lookup and proxies included, within a bounded time.

    TFDS' own downloader would retry for minutes.

    Returns:
        "" if it can; otherwise why not, for people to read.
    """
    import requests

    host = urlparse(url).netloc
    outcome: list[str] = []

    def ask() -> None:
        try:
            with requests.get(url, stream=True, timeout=timeout_seconds) as response:
                outcome.append(
                    "" if response.ok else f"{host} answers with HTTP status {response.status_code}"
                )
        except (requests.RequestException, OSError) as error:
            outcome.append(f"no connection to {host} ({type(error).__name__})")

    # A thread, because no timeout of the sockets' bounds the name lookup.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    return outcome[0] if outcome else f"no answer from {host} within {timeout_seconds:g} seconds"


def _load_family(name: str, manual_dir: Path | None) -> Splits:
    import tensorflow_datasets as tfds

    dataset_name, _, config = name.partition("/")
    url_infos = tfds.builder_cls(dataset_name).url_infos
    if name == SVHN:
        # Not the 1.2 GB of extra training images.
        wanted = tuple(SVHN_FILES.values())
        url_infos = {url: info for url, info in url_infos.items() if url.endswith(wanted)}
    files = _fetch(dataset_name, url_infos, manual_dir)
    host = urlparse(next(iter(url_infos))).netloc
    source = f"TFDS registry, files from {manual_dir or host}"
    if name in CIFAR:
        ((url, archive),) = files.items()
        return assemble(parse_cifar_archive(archive, name, url), name, source)
    if name == SVHN:
        svhn = {
            split: next((url, blob) for url, blob in files.items() if url.endswith(file))
            for split, file in SVHN_FILES.items()
        }
        return assemble(parse_svhn(svhn), name, source)
    if config:
        (archive,) = files.values()
        blobs = {role: _emnist_member(archive, config, role) for role in ROLES}
    else:
        blobs = {role: _published_file(files, role) for role in ROLES}
    return assemble(idx_parts(blobs, name), name, source)


def _published_file(files: Mapping[str, bytes], role: Role) -> tuple[str, bytes]:
    stem = f"{'train' if role.split == 'train' else 't10k'}-{role.part}-"
    return next((url, blob) for url, blob in files.items() if Path(urlparse(url).path).name.startswith(stem))


def _emnist_member(archive: bytes, config: str, role: Role) -> tuple[str, bytes]:
    kind = "idx3-ubyte" if role.part == "images" else "idx1-ubyte"
    member = f"gzip/emnist-{config}-{role.split}-{role.part}-{kind}.gz"
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as contents:
            return member, contents.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"EMNIST's gzip.zip: cannot read {member} from it ({error}); {_ADVICE}") from error


def _fetch(dataset_name: str, url_infos: Mapping[str, Any], manual_dir: Path | None) -> dict[str, bytes]:
    """Returns the bytes of every URL, with the registry's SHA-256 verified by the DownloadManager."""
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
    from tensorflow_datasets.core.download.util import DownloadError

    is_local = manual_dir and all((manual_dir / str(info.filename)).is_file() for info in url_infos.values())
    if not is_local and (reason := probe(next(iter(url_infos)))):
        raise UnreachableError(f"{dataset_name}: {reason}; {_ADVICE}")
    if is_local or not sys.stderr.isatty():
        tfds.disable_progress_bar()
    # What is kept is the project's own cache; a download that stops half-way leaves nothing behind.
    with tempfile.TemporaryDirectory(prefix="mnist_jax_", ignore_cleanup_errors=True) as download_dir:
        try:
            manager = tfds.download.DownloadManager(
                download_dir=download_dir,
                manual_dir=manual_dir,
                url_infos=dict(url_infos),
                dataset_name=dataset_name,
                force_checksums_validation=True,
            )
            paths = manager.download({url: url for url in url_infos})
            return {url: read_bytes(Path(path)) for url, path in paths.items()}
        except NonMatchingChecksumError as error:
            wrong = next((url for url in url_infos if url in str(error)), dataset_name)
            raise DataError(
                f"{dataset_name}: {Path(urlparse(wrong).path).name} does not have the SHA-256 of TFDS' "
                f"registry (a damaged or interrupted download); {_ADVICE}"
            ) from error
        except (requests.RequestException, DownloadError, OSError) as error:
            raise UnreachableError(
                f"{dataset_name}: the download broke off ({type(error).__name__}); nothing of it is used; "
                f"{_ADVICE}"
            ) from error


def _load_prepared(name: str) -> Splits:
    import tensorflow_datasets as tfds

    try:
        # TFDS prints a banner where a builder turns out to need TensorFlow; the error says it in a line.
        with contextlib.redirect_stdout(io.StringIO()):
            builder = tfds.builder(name)
        if not builder.is_prepared():
            if importlib.util.find_spec("tensorflow") is None:
                raise DataError(
                    f"{name}: not prepared in {builder.data_dir}, and preparing it needs TensorFlow; "
                    "expected it prepared as array_record, or TensorFlow installed"
                )
            builder = tfds.builder(name, file_format="array_record")
            builder.download_and_prepare()
        records = builder.as_data_source()
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(
            f"{name}: no such data set{_suggestion(name, tfds.list_builders(with_community_datasets=False))}"
        ) from error
    except DataError:
        raise
    # What TFDS' builders raise is open-ended: missing packages, unknown configs, downloads, file formats.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{name}: TFDS cannot provide it ({type(error).__name__}: {reason}); expected an image data set "
            "that is prepared as array_record"
        ) from error
    features = builder.info.features
    missing = [key for key in ("image", "label") if key not in features]
    missing += [split for split in ("train", "test") if split not in records]
    if missing:
        raise DataError(
            f"{name}: TFDS' data set has no {', '.join(missing)}; expected the features image and label and "
            "the splits train and test"
        )
    class_names = tuple(features["label"].names)
    train, test = (_read_records(records[split], name, split, class_names) for split in ("train", "test"))
    return Splits(train, test)


def _read_records(records: Any, name: str, split: str, class_names: tuple[str, ...]) -> Dataset:
    images, labels = [], []
    for record in records:
        images.append(record["image"])
        labels.append(record["label"])
        if images[-1].shape != images[0].shape:
            raise DataError(
                f"{name}, {split} image {len(images) - 1}: shape {images[-1].shape}; "
                f"expected {images[0].shape} as the first one"
            )
    if not images:
        raise DataError(f"{name}: an empty split, {split}; expected at least one example")
    return Dataset.from_arrays(
        np.stack(images),
        np.array(labels),
        name=name,
        source="TFDS, prepared as array_record",
        class_names=class_names,
    )


def _suggestion(name: str, tfds_names: list[str]) -> str:
    close = difflib.get_close_matches(name, {*FAMILY, EMBEDDED_NAME, *tfds_names}, n=3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return (
        f"; expected {', '.join([*FAMILY, EMBEDDED_NAME])}, a TFDS image data set, or your own with data.dir"
    )
