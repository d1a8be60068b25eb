"""Archives of arrays: read, or refused by one of two kinds of errors."""

import os
import zipfile

import numpy as np
import pytest

from mnist_jax.storage.npz_files import load_arrays


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.npz"
    np.savez_compressed(path, votes=np.arange(6).reshape(2, 3), name=np.array("abc"))
    return path


def test_arrays_are_read_by_name(path):
    arrays = load_arrays(path, ["votes", "name"])
    np.testing.assert_array_equal(arrays["votes"], [[0, 1, 2], [3, 4, 5]])
    assert str(arrays["name"]) == "abc" and list(arrays) == ["votes", "name"]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04 and no more", b"[1, 2]"])
def test_what_is_no_archive_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.npz: \S"):
        load_arrays(path, ["votes"])


@pytest.mark.parametrize("place", [70, 100, -200])
def test_damage_is_refused(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.npz: \S"):
        load_arrays(path, ["votes", "name"])


def test_members_that_are_no_arrays_or_not_there_or_objects_are_refused(path, tmp_path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("text.npy", b"no magic number")
    np.savez(tmp_path / "objects.npz", votes=np.array([{}, None], dtype=object))
    for file, name in ((path, "text"), (path, "others"), (tmp_path / "objects.npz", "votes")):
        with pytest.raises(ValueError, match=name if file == path else "pickle"):
            load_arrays(file, [name])


def test_a_pipe_and_a_folder_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "nothing"):
        with pytest.raises(OSError):
            load_arrays(tmp_path / name, ["votes"])
