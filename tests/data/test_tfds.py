import gzip
import io
import shutil
import socket
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data import tfds as tfds_source
from mnist_jax.data.cifar import CIFAR
from mnist_jax.data.folder import load_folder
from mnist_jax.data.known import FAMILY, FINGERPRINTS
from mnist_jax.data.svhn import SVHN_FILES
from mnist_jax.data.tfds import UnreachableError, load_tfds, probe
from mnist_jax.errors import DataError
from tests.data.test_cifar import SmallCifar
from tests.data.test_svhn import arrays as svhn_arrays
from tests.data.test_svhn import mat

tfds = pytest.importorskip("tensorflow_datasets")


class Server:
    """A web server of the test's own; ``files`` maps a path to (bytes promised, bytes sent)."""

    def __init__(self):
        self.files: dict[str, tuple[int, bytes]] = {}
        files = self.files

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path not in files:
                    self.send_error(404)
                    return
                num_promised, content = files[self.path]
                self.send_response(200)
                self.send_header("Content-Length", str(num_promised))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, name: str, content: bytes, cut: int = 0) -> str:
        self.files[f"/{name}"] = (len(content), content[: len(content) - cut])
        return self.url + name

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.close()


@pytest.fixture
def registry(monkeypatch, server, tmp_path):
    """Registers files of a server in place of TFDS' own URLs; returns a function (name, content, cut)."""
    from tensorflow_datasets.core.download.checksums import compute_url_info

    url_infos = {}

    def add(name: str, content: bytes, cut: int = 0, served: bytes | None = None) -> None:
        (tmp_path / name).write_bytes(content)
        url_infos[server.add(name, content if served is None else served, cut)] = compute_url_info(
            tmp_path / name
        )

    builder_cls = type("Builder", (), {"url_infos": url_infos})
    monkeypatch.setattr(tfds, "builder_cls", lambda name: builder_cls)
    return add


def test_the_fingerprints_of_mnists_family_are_those_of_the_registry():
    for name in ("mnist", "fashion_mnist", "kmnist"):
        for url, info in tfds.builder_cls(name).url_infos.items():
            split = "train" if "/train-" in url else "test"
            part = "images" if "-images-" in url else "labels"
            assert FINGERPRINTS[info.checksum] == (name, split, part)


def test_the_class_names_of_mnists_family_are_those_of_the_registry(tmp_path):
    for name in ("fashion_mnist", "kmnist"):
        assert FAMILY[name].class_names == tuple(
            tfds.builder(name, data_dir=tmp_path).info.features["label"].names
        )
    num_classes = {config.name: config.class_number for config in tfds.builder_cls("emnist").BUILDER_CONFIGS}
    for config, number in num_classes.items():
        # TFDS counts the 37 classes of an early version of letters; the files have 26.
        expected = 26 if config == "letters" else number
        assert len(FAMILY[f"emnist/{config}"].class_names) == expected


def test_canonical_files_go_through_the_download_manager(real_mnist):
    splits = load_tfds("mnist", real_mnist)
    assert (splits.train.num_examples, splits.test.num_examples) == (60_000, 10_000)
    assert splits.train.sha256 == load_folder("mnist", real_mnist).train.sha256
    assert splits.train.source.startswith("TFDS registry")


def test_a_manual_file_with_another_checksum_is_refused(real_mnist, tmp_path):
    for path in real_mnist.glob("*.gz"):
        shutil.copyfile(path, tmp_path / path.name)
    with (tmp_path / "t10k-labels-idx1-ubyte.gz").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(
        DataError, match="mnist: t10k-labels-idx1-ubyte.gz does not have the SHA-256 of TFDS'"
    ) as raised:
        load_tfds("mnist", tmp_path)
    assert "\n" not in str(raised.value)


def _served_files(small, folder):
    return {path.name: path.read_bytes() for path in small.write(folder).iterdir()}


def test_files_are_downloaded_and_checked(small, tmp_path, registry, server):
    for name, content in _served_files(small, tmp_path / "served").items():
        registry(name, content)
    splits = load_tfds("kmnist")
    np.testing.assert_array_equal(splits.train.images[..., 0], small.arrays["train-images-idx3-ubyte"])
    assert server.url[7:-1] in splits.train.source


def test_emnist_is_read_from_its_archive(small, tmp_path, registry):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as contents:
        for name, content in _served_files(small, tmp_path / "served").items():
            contents.writestr(f"gzip/emnist-digits-{name.replace('t10k', 'test')}", content)
    registry("gzip.zip", archive.getvalue())
    splits = load_tfds("emnist/digits")
    upright = small.arrays["train-images-idx3-ubyte"].transpose(0, 2, 1)
    np.testing.assert_array_equal(splits.train.images[..., 0], upright)
    with pytest.raises(
        DataError, match="cannot read gzip/emnist-balanced-train-images-idx3-ubyte.gz from it"
    ):
        load_tfds("emnist/balanced")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_from_its_archive(registry, server, name):
    cifar = SmallCifar(name)
    registry(cifar.archive, gzip.compress(cifar.tar(), 1))
    splits = load_tfds(name)
    np.testing.assert_array_equal(splits.train.images, cifar.images["train"])
    np.testing.assert_array_equal(splits.test.labels, cifar.labels["test"])
    assert splits.train.name == name and server.url[7:-1] in splits.train.source


def test_svhn_is_read_without_its_extra_images(registry, server):
    content = {split: svhn_arrays(number) for split, number in (("train", 12), ("test", 11))}
    for split, arrays in content.items():
        registry(f"{split}_32x32.mat", mat(*arrays))
    registry("extra_32x32.mat", b"never asked for", served=b"")
    splits = load_tfds("svhn_cropped")
    np.testing.assert_array_equal(splits.train.images[5], content["train"][0][..., 5])
    np.testing.assert_array_equal(splits.test.labels, content["test"][1][:, 0] % 10)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn_cropped"])
def test_what_is_fetched_for_a_data_set_are_files_that_the_registry_has(monkeypatch, name):
    """The real registry; nothing is fetched."""
    fetched = {}

    def fetch(dataset_name, url_infos, manual_dir):
        fetched.update(url_infos)
        raise UnreachableError("no network")

    monkeypatch.setattr(tfds_source, "_fetch", fetch)
    with pytest.raises(UnreachableError):
        load_tfds(name)
    names = {path.rpartition("/")[2] for path in fetched}
    assert names == ({CIFAR[name].archive} if name in CIFAR else set(SVHN_FILES.values()))
    assert all(len(info.checksum) == 64 and info.size > 50_000_000 for info in fetched.values())


def test_a_damaged_archive_with_the_right_checksum_is_named_by_its_url(registry, server):
    registry("cifar-10-binary.tar.gz", gzip.compress(SmallCifar("cifar10").tar(), 1)[:-100])
    with pytest.raises(DataError, match=f"{server.url}cifar-10-binary.tar.gz: the archive is cut short"):
        load_tfds("cifar10")


def test_an_interrupted_download_is_never_used(small, tmp_path, registry):
    for name, content in _served_files(small, tmp_path / "served").items():
        registry(name, content, cut=1000 if "train-images" in name else 0)
    with pytest.raises(DataError, match="the download broke off|does not have the SHA-256") as raised:
        load_tfds("mnist")
    assert "\n" not in str(raised.value)


def test_a_download_with_another_content_is_never_used(small, tmp_path, registry):
    for name, content in _served_files(small, tmp_path / "served").items():
        registry(name, content, served=b"<html>Please log in</html>" if "t10k-labels" in name else None)
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte.gz does not have the SHA-256"):
        load_tfds("mnist")


def test_a_host_that_refuses_is_unreachable():
    with pytest.raises(UnreachableError, match="mnist: no connection to .*; try again, or .*data.dir"):
        load_tfds("mnist")


def test_the_probe_says_why(server):
    assert probe(server.add("there", b"x")) == ""
    assert "answers with HTTP status 404" in probe(server.url + "absent")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        assert probe(f"http://{address}/") == f"no connection to {address} (ConnectionError)"


def test_the_probe_goes_through_the_proxy_of_the_environment(server, monkeypatch):
    url = "http://a-host-that-does-not-exist.invalid/file"
    server.files[url] = (1, b"x")
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url)
    assert probe(url) == ""


def test_a_host_that_never_answers_and_a_name_lookup_that_hangs_do_not_hold_up(monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert "127.0.0.1" in probe(url, timeout_seconds=0.2)
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: released.wait(30) and [])
    started = time.monotonic()
    assert (
        probe("http://somewhere.invalid/", timeout_seconds=0.2)
        == "no answer from somewhere.invalid within 0.2 seconds"
    )
    assert time.monotonic() - started < 25, "waited for the name lookup"
    released.set()


def test_the_decision_is_bounded_well_below_five_seconds():
    assert tfds_source.PROBE_SECONDS <= 3


def test_an_unknown_name_comes_with_a_suggestion(capsys):
    with pytest.raises(DataError, match="fashion_mnits: no such data set; did you mean fashion_mnist"):
        load_tfds("fashion_mnits")
    assert capsys.readouterr().out == ""


def test_another_data_set_that_is_not_prepared_needs_tensorflow(monkeypatch, tmp_path):
    monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda name: None)
    builder = tfds.builder("cifar10_1", data_dir=tmp_path)
    monkeypatch.setattr(tfds, "builder", lambda name: builder)
    with pytest.raises(DataError, match="cifar10_1: not prepared in .*, and preparing it needs TensorFlow"):
        load_tfds("cifar10_1")


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Prepares a small data set of TFDS as array_record, without TensorFlow; returns its name."""
    monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda name: None)
    real_builder = tfds.builder
    monkeypatch.setattr(
        tfds, "builder", lambda name, **kwargs: real_builder(name, data_dir=tmp_path, **kwargs)
    )
    tfds.disable_progress_bar()

    def png(value: int, width: int) -> io.BytesIO:
        stream = io.BytesIO()
        Image.new("RGB", (width, 8), (value, 0, 0)).save(stream, "PNG")
        stream.seek(0)
        return stream

    def run(name: str, splits=("train", "test"), label="label", widths=(6, 6)) -> str:
        def info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                label: tfds.features.ClassLabel(names=["red", "redder"]),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def examples(self, split):
            for index in range(4):
                yield index, {"image": png(10 * index, widths[index % 2]), label: index % 2}

        body = {
            "VERSION": tfds.core.Version("1.0.0"),
            "__module__": __name__,
            "_info": info,
            "_split_generators": lambda self, manager: {split: examples(self, split) for split in splits},
            "_generate_examples": examples,
        }
        builder_cls = type(name, (tfds.core.GeneratorBasedBuilder,), body)
        builder_cls(data_dir=tmp_path, file_format="array_record").download_and_prepare()
        return builder_cls.name

    return run


def test_another_data_set_is_read_where_it_is_prepared_as_array_record(prepare):
    splits = load_tfds(prepare("RedPictures"))
    assert splits.train.images.shape == (4, 8, 6, 3) and splits.test.num_examples == 4
    assert splits.train.class_names == ("red", "redder") and splits.train.name == "red_pictures"
    np.testing.assert_array_equal(splits.train.images[:, 0, 0, 0] // 10 % 2, splits.train.labels)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("RedTrainOnly", {"splits": ("train",)}, "has no test; expected the features image and label"),
        ("RedUnlabeled", {"label": "color"}, "has no label; expected the features image and label"),
        ("RedManySizes", {"widths": (6, 7)}, "as the first one"),
    ],
)
def test_another_data_set_that_does_not_fit_is_named(prepare, name, changes, message):
    with pytest.raises(DataError, match=message):
        load_tfds(prepare(name, **changes))
