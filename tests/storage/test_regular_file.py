"""Files that somebody else made: devices and pipes are not waited for, size and nesting are bounded."""

import os

import pytest

from mnist_jax.storage.regular_file import open_regular, read_json, read_regular


def link_to_zero(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [os.mkfifo, link_to_zero], ids=["pipe", "zero"])
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path, make):
    make(tmp_path / "odd")
    with pytest.raises(OSError, match="it is not a regular file"):
        read_regular(tmp_path / "odd", 1000)


def test_a_folder_is_named_as_one(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path, 1000)


def test_a_link_is_followed_only_where_that_is_allowed(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 7) == b"content"
    with pytest.raises(OSError, match="symbolic links"):
        open_regular(tmp_path / "link", follow_links=False)


def test_a_file_without_end_is_refused_for_its_size(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than the 1,000 bytes accepted"):
        read_regular(tmp_path / "large", 1000)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"run": ' + "9" * 5000 + "}", "{"])
def test_json_that_python_refuses_is_a_value_error(tmp_path, content):
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "file.json")
