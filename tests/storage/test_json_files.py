"""JSON files that are never half written, and config.json's two parts."""

import errno
import json
import os
import pathlib
import stat

import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.errors import RunError
from mnist_jax.storage.json_files import (
    plain_json,
    read_config,
    read_summary,
    write_config,
    write_json_atomic,
)
from tests.full_disk import small_disk


def test_write_json_atomic_replaces_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "summary.json"
    write_json_atomic(path, {"test_errors": 45})
    (tmp_path / ".summary.json.tmp").write_text("what a killed run left")
    write_json_atomic(path, {"test_errors": 44, "best": {"step": 3}})
    assert json.loads(path.read_text()) == {"test_errors": 44, "best": {"step": 3}}
    assert os.listdir(tmp_path) == ["summary.json"]


def test_plain_json_turns_arrays_and_numbers_that_are_not_finite_into_json():
    value = {
        "nan": float("nan"),
        "infinite": [np.float32("inf"), -np.inf, jnp.float32(1.5)],
        "matrix": np.arange(4).reshape(2, 2),
        "path": pathlib.Path("a") / "b",
        "shape": (1, 2),
        "flag": np.bool_(True),
        7: None,
    }
    assert plain_json(value) == {
        "nan": None,
        "infinite": [None, None, 1.5],
        "matrix": [[0, 1], [2, 3]],
        "path": os.path.join("a", "b"),
        "shape": [1, 2],
        "flag": True,
        "7": None,
    }


def test_plain_json_names_what_has_no_place_in_json():
    with pytest.raises(TypeError, match=r"got <object object.*expected a number"):
        plain_json({"a": [object()]})


def test_a_value_that_has_no_place_leaves_the_old_file(tmp_path):
    path = tmp_path / "config.json"
    write_json_atomic(path, {"seed": 0})
    with pytest.raises(TypeError):
        write_json_atomic(path, {"seed": object()})
    assert json.loads(path.read_text()) == {"seed": 0}


def test_a_missing_folder_is_one_line_that_names_the_file(tmp_path):
    path = tmp_path / "gone" / "summary.json"
    with pytest.raises(RunError) as caught:
        write_json_atomic(path, {})
    assert str(path) in str(caught.value)
    assert "No such file or directory" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_read_only_folder_is_refused_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_json_atomic(path, {"test_errors": 45})
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunError, match="Permission denied"):
            write_json_atomic(path, {"test_errors": 0})
        assert json.loads(path.read_text()) == {"test_errors": 45}
    finally:
        tmp_path.chmod(0o700)


def test_disk_full_keeps_the_old_file_and_removes_the_temporary_one(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        path = disk.folder / "summary.json"
        write_json_atomic(path, {"test_errors": 45})
        disk.fill()
        with pytest.raises(RunError, match=r"summary\.json: No space left on device"):
            write_json_atomic(path, {"long": "x" * 100_000})
        assert json.loads(path.read_text()) == {"test_errors": 45}
        assert not (disk.folder / ".summary.json.tmp").exists()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP, errno.EPERM])
def test_a_file_system_that_does_not_sync_folders_is_good_enough(tmp_path, monkeypatch, number):
    refuse_to_sync_folders(monkeypatch, number)
    write_json_atomic(tmp_path / "config.json", {"seed": 3})
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 3}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_folder_that_fails_to_sync_is_not(tmp_path, monkeypatch, number):
    refuse_to_sync_folders(monkeypatch, number)
    with pytest.raises(RunError, match=os.strerror(number)):
        write_json_atomic(tmp_path / "config.json", {})


def refuse_to_sync_folders(monkeypatch, number):
    sync = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_config_comes_back_with_the_data_that_was_used(tmp_path):
    config = {"seed": 0, "model": {"features": (32, 64)}}
    run = {
        "dataset": {
            "name": "mnist",
            "source": "embedded",
            "is_fallback": True,
            "notice": "not all",
        }
    }
    write_config(tmp_path, config, run)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0
    assert read_config(tmp_path) == ({"seed": 0, "model": {"features": [32, 64]}}, run)


def test_config_with_a_key_of_the_files_own_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'run'"):
        write_config(tmp_path, {"run": 1}, {})


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff\xfe"])
def test_a_damaged_summary_is_one_line(tmp_path, content):
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(RunError, match=r"cannot read .*summary\.json.*delete it to finish") as caught:
        read_summary(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_that_has_not_finished_has_an_empty_summary(tmp_path):
    assert read_summary(tmp_path) == {}
    write_json_atomic(tmp_path / "summary.json", {"test_errors": 45})
    assert read_summary(tmp_path) == {"test_errors": 45}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"run": 3}', b"\xff\xfe"])
def test_a_damaged_config_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"cannot read .*config\.json.*expected") as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_config_says_what_was_expected(tmp_path):
    with pytest.raises(RunError, match="expected the folder of a run"):
        read_config(tmp_path)
