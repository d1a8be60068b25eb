"""Files that somebody else made: devices and pipes are not waited for, size and nesting are bounded."""

import io
import json
import os
import threading
import zipfile

import numpy as np
import pytest

from mnist_jax.errors import RunError
from mnist_jax.runtime.regular_file import (
    check_archive,
    check_holes,
    check_unpacked,
    open_regular,
    read_at_most,
    read_json,
    read_named,
    read_regular,
)
from mnist_jax.storage.json_files import read_config, read_summary, write_json_atomic
from mnist_jax.storage.metrics_log import MetricsWriter, read_metrics
from mnist_jax.storage.results import read_results
from mnist_jax.storage.workdir import RunLock


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


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"run": ' + "9" * 5000 + "}", "{", "[" * 101 + "]" * 101, '["' + '"' + "[" * 101],
)
def test_json_that_python_refuses_is_a_value_error(tmp_path, content):
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "file.json")


def test_what_is_in_texts_nests_nothing(tmp_path):
    value = {"a": "[" * 200, "b": '"' + "{" * 200, "c": "\\", "d\\": ["[" * 200] * 3}
    (tmp_path / "file.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "file.json") == value


@pytest.mark.parametrize("make", [os.mkfifo, link_to_zero], ids=["pipe", "zero"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", read_config),
        ("summary.json", read_summary),
        ("metrics.jsonl", read_metrics),
        ("results.jsonl", read_results),
    ],
)
def test_a_file_of_a_run_that_is_none_is_one_line(tmp_path, make, name, read):
    make(tmp_path / name)
    with pytest.raises(RunError, match=rf"{name}.*it is not a regular file"):
        read(tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"run": ' + "9" * 5000 + "}"])
def test_json_that_python_refuses_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"^cannot read .*config\.json"):
        read_config(tmp_path)


@pytest.fixture
def precious(tmp_path):
    """A file of the person who uses a folder that somebody else has prepared."""
    path = tmp_path / "precious"
    path.write_bytes(b"a person's own")
    yield path
    assert path.read_bytes() == b"a person's own"


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path, precious):
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.raises(RunError, match="cannot be opened"):
        RunLock(tmp_path).acquire()


def test_a_link_in_the_place_of_a_temporary_file_is_not_written_through(tmp_path, precious):
    (tmp_path / ".summary.json.tmp").symlink_to(precious)
    write_json_atomic(tmp_path / "summary.json", {"final_step": 3})
    assert read_summary(tmp_path) == {"final_step": 3}


def test_metrics_that_are_a_link_are_not_written_through(tmp_path, precious):
    (tmp_path / "metrics.jsonl").symlink_to(precious)
    with MetricsWriter(tmp_path) as writer:
        writer.write(step=1, epoch=1, split="train", loss=0.5)
    assert [record["loss"] for record in read_metrics(tmp_path)] == [0.5]


@pytest.mark.parametrize(
    "line",
    ['{"step": 1e999}', '{"step": 1, "loss": 1e999}', '{"step": 1, "epoch": "x"}', '{"step": 1, "loss": []}'],
)
def test_a_line_of_other_types_is_none_of_ours(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(line + '\n{"step": 2, "epoch": 1, "split": "train"}\n')
    assert [record["step"] for record in read_metrics(tmp_path)] == [2]


def test_no_more_is_asked_for_at_once_than_a_piece():
    asked, file = [], io.BytesIO(bytes(range(256)) * 8192)

    def read(size):
        asked.append(size)
        return file.read(size)

    assert read_at_most(read, 2**40) == file.getvalue()
    assert max(asked) <= 2**20
    file.seek(0)
    assert read_at_most(file.read, 1000) == file.getvalue()[:1000]


# --- What a person names ---


def test_a_pipe_that_is_named_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(bytes(200_000)))
    thread.start()
    assert read_named(tmp_path / "pipe", 200_000) == bytes(200_000)
    thread.join()


def test_a_pipe_into_which_nobody_writes_is_not_waited_for_long(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="nothing came through this pipe for 0.01 seconds"):
        read_named(tmp_path / "pipe", 1000, pipe_seconds=0.01)


def test_a_device_that_is_named_is_no_file():
    with pytest.raises(OSError, match="it is not a regular file"):
        read_named("/dev/zero", 1000)


# --- Few bytes that become many ---


def test_what_unpacks_to_too_many_times_its_size_is_refused():
    check_unpacked(3 * 2**27, 1)
    check_unpacked(2**40, 2**34)
    with pytest.raises(OSError, match="its 10 bytes unpack to more than 100 times as many"):
        check_unpacked(2**29, 10)


def test_a_file_of_holes_is_refused(tmp_path):
    with open(tmp_path / "holes", "wb") as file:
        file.write(b"content")
        file.truncate(2**40)
    with open(tmp_path / "holes", "rb") as file:
        with pytest.raises(OSError, match="unpack to more than 100 times"):
            check_holes(file)
        assert file.read(7) == b"content"
    with open(tmp_path / "holes", "r+b") as file:
        file.truncate(3 * 2**27)
        check_holes(file)


def test_an_archive_of_zeros_is_refused_before_any_is_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "some.npz", x=np.zeros(1000), y=np.zeros(5))
    with zipfile.ZipFile(tmp_path / "some.npz") as archive:
        check_archive(archive, ["x", "y"])
        archive.getinfo("x.npy").file_size = 2**40
        check_archive(archive, ["y"])
        with pytest.raises(OSError, match="unpack to more than 100 times"):
            check_archive(archive, ["x", "y"])
