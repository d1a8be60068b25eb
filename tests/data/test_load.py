import os
import re
import subprocess
import sys

import numpy as np
import pytest

from mnist_jax.data import Splits, load_splits, tfds
from mnist_jax.data.cache import cache_path, save_to_cache
from mnist_jax.data.folder import load_folder
from mnist_jax.data.load import reads_idx_files
from mnist_jax.errors import DataError


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(tfds, "probe", lambda url: "no connection to the.host (ConnectionError)")


@pytest.fixture
def downloads(monkeypatch, small, tmp_path):
    """TFDS in place of which a small set is handed over; returns the names asked for."""
    names = []

    def load_tfds(name, manual_dir=None):
        names.append(name)
        return load_folder(name, small.write(tmp_path / "downloaded"))

    monkeypatch.setattr(tfds, "load_tfds", load_tfds)
    return names


def test_the_folder_argument_wins_over_the_variable(make_small, tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_JAX_DATA_DIR", str(make_small(num_train=40).write(tmp_path / "variable")))
    assert load_splits("mnist").train.num_examples == 40
    argument = make_small(num_train=50).write(tmp_path / "argument")
    assert load_splits("mnist", data_dir=str(argument)).train.num_examples == 50
    assert load_splits("mnist", data_dir=argument).train.num_examples == 50


def test_a_damaged_folder_is_an_error_even_with_a_fallback(small, tmp_path, offline, monkeypatch):
    small.write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="missing file: t10k-labels-idx1-ubyte"):
        load_splits("mnist", data_dir=tmp_path, fallback="mnist_5k")
    monkeypatch.setenv("MNIST_JAX_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="missing file: t10k-labels-idx1-ubyte"):
        load_splits("mnist", fallback="mnist_5k")


def test_offline_the_embedded_digits_stand_in_and_say_so(offline):
    splits = load_splits("mnist", fallback="mnist_5k")
    assert splits.is_fallback and splits.train.name == splits.test.name == "mnist_5k"
    assert splits.train.num_examples == 4000
    assert "NOT the full MNIST" in splits.notice and "no connection to the.host" in splits.notice


def test_offline_without_a_fallback_the_error_says_what_to_do(offline):
    with pytest.raises(DataError) as raised:
        load_splits("mnist")
    message = str(raised.value)
    for advice in ("no connection to the.host", "data.dir", "MNIST_JAX_DATA_DIR", "data.fallback=mnist_5k"):
        assert advice in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist", "emnist/letters"])
def test_the_digits_stand_in_for_nothing_but_mnist(offline, name):
    with pytest.raises(DataError, match="no connection to the.host"):
        load_splits(name, fallback="mnist_5k")


def test_a_damaged_download_is_an_error_even_with_a_fallback(monkeypatch):
    def damaged(name):
        raise DataError("mnist: a file does not have the SHA-256; expected an intact download")

    monkeypatch.setattr(tfds, "load_tfds", damaged)
    with pytest.raises(DataError, match="does not have the SHA-256"):
        load_splits("mnist", fallback="mnist_5k")


def test_the_embedded_digits_by_their_own_name(monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_JAX_DATA_DIR", str(tmp_path / "absent"))
    splits = load_splits("mnist_5k")
    assert not splits.is_fallback and splits.notice == "" and splits.test.num_examples == 1000
    with pytest.raises(DataError, match="mnist_5k is embedded; expected data.dir=''"):
        load_splits("mnist_5k", data_dir=tmp_path)


def test_a_download_is_kept_and_used_again(downloads, tmp_path):
    first = load_splits("kmnist", cache_dir=tmp_path / "cache")
    again = load_splits("kmnist", cache_dir=tmp_path / "cache")
    assert downloads == ["kmnist"] and again.train.sha256 == first.train.sha256
    assert again.train.source.startswith(f"cache {tmp_path / 'cache'}")
    load_splits("kmnist")
    assert (tmp_path / "xdg" / "mnist_jax" / "kmnist.npz").is_file()


def test_a_damaged_cache_is_reported_and_rebuilt(downloads, tmp_path):
    load_splits("kmnist", cache_dir=tmp_path)
    cache_path("kmnist", tmp_path).write_bytes(b"rubbish")
    rebuilt = load_splits("kmnist", cache_dir=tmp_path)
    assert "The cache was damaged and is not used" in rebuilt.notice and not rebuilt.is_fallback
    assert downloads == ["kmnist", "kmnist"]
    assert load_splits("kmnist", cache_dir=tmp_path).notice == ""
    assert downloads == ["kmnist", "kmnist"]


def test_a_folder_is_never_copied_to_the_cache(small, tmp_path):
    load_splits("mnist", data_dir=small.write(tmp_path / "data"), cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_variable_does_not_hide_the_cache_from_other_data_sets(small, make_small, tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_JAX_DATA_DIR", str(small.write(tmp_path / "mnist")))
    kmnist = load_folder("kmnist", make_small(num_train=70).write(tmp_path / "kmnist"))
    save_to_cache(kmnist, tmp_path / "cache")
    assert load_splits("kmnist", cache_dir=tmp_path / "cache").train.num_examples == 70


def test_a_manual_folder_goes_straight_to_tfds(real_mnist, monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_JAX_DATA_DIR", str(tmp_path / "absent"))
    splits = load_splits("mnist", manual_dir=real_mnist)
    assert splits.train.source.startswith("TFDS registry") and splits.train.num_examples == 60_000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "data.name is ''; expected a data set's name"),
        ("../secret", "data.name is '../secret'; expected"),
        ("/mnist", "data.name is '/mnist'; expected"),
        ("emnist", "emnist is six data sets; expected one of emnist/balanced, emnist/byclass"),
        ("emnist/letter", "emnist/letter: no such data set; expected one of"),
        ("mnits", "mnits: no such data set; did you mean mnist"),
    ],
)
def test_a_wrong_name_is_refused(name, message):
    with pytest.raises(DataError, match=re.escape(message)):
        load_splits(name, fallback="mnist_5k")


def test_a_wrong_fallback_is_refused():
    with pytest.raises(DataError, match="data.fallback is 'cifar10'; expected 'mnist_5k' or ''"):
        load_splits("mnist", fallback="cifar10")


def test_a_home_folder_is_expanded(small, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    small.write(tmp_path / "digits")
    splits = load_splits("mnist", data_dir="~/digits")
    assert isinstance(splits, Splits) and splits.train.images.dtype == np.uint8


def test_importing_the_package_brings_none_of_the_heavy_ones():
    code = (
        "import sys, mnist_jax.data\n"
        "print({name.split('.')[0] for name in sys.modules} & "
        "{'jax', 'PIL', 'tensorflow_datasets', 'requests', 'pyarrow', 'scipy'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == "set()\n"


def test_an_image_size_is_kept_whatever_the_source(small, tmp_path):
    embedded = load_splits("mnist_5k", image_size=20)
    assert embedded.train.image_shape == embedded.test.image_shape == (20, 20, 1)
    assert embedded.preparation.form == "resized"
    assert embedded.remarks == ("images of 28x28 (height x width) are brought to 20x20",)
    folder = small.write(tmp_path / "data")
    for name in ("mnist", "kmnist"):
        assert load_splits(name, data_dir=folder, image_size=14).train.image_shape == (14, 14, 1)
    unchanged = load_splits("mnist_5k", image_size=28)
    assert unchanged.preparation.form == "mnist" and unchanged.remarks == ()


def test_what_reads_idx_files_is_told(small, tmp_path, monkeypatch):
    folder = small.write(tmp_path / "idx")
    assert reads_idx_files("mnist", folder) and reads_idx_files("mnist", str(folder))
    assert not reads_idx_files("mnist")
    assert not reads_idx_files("cifar10", folder)
    assert not reads_idx_files("mnist", tmp_path / "nowhere")
    assert not reads_idx_files("mnist", tmp_path / ("long" * 100))
    monkeypatch.setenv("MNIST_JAX_DATA_DIR", str(folder))
    assert reads_idx_files("mnist")
    # The variable speaks of MNIST: these may be asked of TFDS.
    assert not reads_idx_files("fashion_mnist") and not reads_idx_files("mnist_5k")
    small.write(folder / "fashion_mnist")
    assert reads_idx_files("fashion_mnist")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert not reads_idx_files("mnist")
