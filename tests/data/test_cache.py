import os
from pathlib import Path

import numpy as np
import pytest

from mnist_jax.data.cache import cache_path, load_cached, save_to_cache
from mnist_jax.data.folder import load_folder
from mnist_jax.errors import DataError


@pytest.fixture
def splits(small, tmp_path):
    return load_folder("kmnist", small.write(tmp_path / "data"))


@pytest.fixture
def cache_dir(tmp_path) -> Path:
    return tmp_path / "deep" / "cache"


def test_what_is_saved_comes_back(splits, cache_dir):
    save_to_cache(splits, cache_dir)
    cached = load_cached("kmnist", cache_dir)
    for before, after in ((splits.train, cached.train), (splits.test, cached.test)):
        np.testing.assert_array_equal(after.images, before.images)
        np.testing.assert_array_equal(after.labels, before.labels)
        assert (after.name, after.sha256, after.class_names) == (
            before.name,
            before.sha256,
            before.class_names,
        )
        assert after.source == f"cache {cache_dir / 'kmnist.npz'} of {before.source}"
    assert os.listdir(cache_dir) == ["kmnist.npz"]


def test_what_was_never_saved_is_not_there(cache_dir):
    assert load_cached("mnist", cache_dir) is None


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
def test_a_changed_byte_is_never_handed_over(splits, cache_dir, fraction):
    save_to_cache(splits, cache_dir)
    path = cache_path("kmnist", cache_dir)
    blob = bytearray(path.read_bytes())
    blob[int(fraction * (len(blob) - 1))] ^= 0xFF
    path.write_bytes(blob)
    try:
        cached = load_cached("kmnist", cache_dir)
    except DataError as error:
        assert str(path) in str(error)
    else:
        # Some bytes of a zip archive, such as time stamps, carry no data.
        assert cached.train.sha256 == splits.train.sha256


def test_content_that_does_not_match_its_fingerprint_is_refused(splits, cache_dir):
    save_to_cache(splits, cache_dir)
    path = cache_path("kmnist", cache_dir)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["x_test"][0, 0, 0, 0] ^= 1
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="the test split does not have the SHA-256"):
        load_cached("kmnist", cache_dir)


@pytest.mark.parametrize("meta", ["{", "[]", "{}", '{"name": "kmnist", "class_names": 3}'])
def test_a_damaged_description_is_refused(splits, cache_dir, meta):
    save_to_cache(splits, cache_dir)
    path = cache_path("kmnist", cache_dir)
    with np.load(path) as archive:
        arrays = dict(archive) | {"meta": np.array(meta)}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="its description is damaged"):
        load_cached("kmnist", cache_dir)


def test_another_data_set_under_this_name_is_refused(splits, cache_dir):
    save_to_cache(splits, cache_dir)
    os.rename(cache_path("kmnist", cache_dir), cache_path("mnist", cache_dir))
    with pytest.raises(DataError, match="holds kmnist; expected mnist"):
        load_cached("mnist", cache_dir)


def test_a_folder_that_cannot_be_written_is_passed_over(splits, tmp_path):
    (tmp_path / "file").write_text("in the way")
    save_to_cache(splits, tmp_path / "file" / "cache")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_disk_that_fills_up_leaves_the_old_file_and_no_litter(splits, cache_dir, monkeypatch):
    save_to_cache(splits, cache_dir)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    save_to_cache(splits, cache_dir)
    assert os.listdir(cache_dir) == ["kmnist.npz"]
    assert load_cached("kmnist", cache_dir).train.sha256 == splits.train.sha256
