"""A run's folder: created, refused, locked, and left as it was where nothing was written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_jax.checkpoints.folder import find_checkpoints
from mnist_jax.errors import CheckpointError, RunError
from mnist_jax.storage.workdir import RunLock, new_workdir, open_workdir, prepare_workdir, remove_if_unused
from tests.full_disk import small_disk

HOLDER = """
import sys, time
from pathlib import Path
from mnist_jax.storage.workdir import RunLock
RunLock(Path(sys.argv[1])).acquire()
print("locked", flush=True)
time.sleep(60)
"""


def start_holder(workdir: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(workdir)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout.readline() == "locked\n"
    return process


def test_creates_what_is_missing_and_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdir, created = prepare_workdir("new folder/run 1")
    assert workdir == tmp_path / "new folder" / "run 1" and workdir.is_dir()
    assert created == [workdir, workdir.parent]
    assert prepare_workdir(workdir) == (workdir, [])
    assert list(workdir.iterdir()) == []


def test_follows_symlinks(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    workdir, created = prepare_workdir(tmp_path / "link" / "run")
    assert (tmp_path / "real" / "run").is_dir()
    assert created == [workdir]


def test_refuses_a_file_and_a_dangling_link(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(RunError, match="file is a file: give a folder"):
        prepare_workdir(tmp_path / "file")
    with pytest.raises(RunError, match="cannot be created: Not a directory"):
        prepare_workdir(tmp_path / "file" / "run")
    with pytest.raises(RunError, match="is a symbolic link to nothing"):
        prepare_workdir(tmp_path / "dangling")
    assert (tmp_path / "file").read_text() == "mine"


def test_refuses_a_read_only_disk(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        (disk.folder / "old run").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
        with pytest.raises(RunError, match="old run cannot be written to: Read-only file system"):
            prepare_workdir(disk.folder / "old run")
        with pytest.raises(RunError, match="new run cannot be created: Read-only file system"):
            prepare_workdir(disk.folder / "new run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_refuses_a_folder_without_permission(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(RunError, match="closed cannot be written to: Permission denied"):
        prepare_workdir(tmp_path / "closed")
    with pytest.raises(RunError, match="run cannot be created: Permission denied"):
        prepare_workdir(tmp_path / "closed" / "run")


@pytest.mark.parametrize("below", ["checkpoints", "checkpoints/5", "checkpoints/5/state"])
def test_one_level_too_deep_names_the_run(tmp_path, below):
    (tmp_path / "run" / "checkpoints" / "5" / "state").mkdir(parents=True)
    with pytest.raises(RunError, match=f"--workdir {tmp_path / 'run'}$"):
        prepare_workdir(tmp_path / "run" / below)
    with pytest.raises(CheckpointError, match=f"--workdir {tmp_path / 'run'}$"):
        find_checkpoints(tmp_path / "run" / below)
    assert find_checkpoints(tmp_path / "run") == tmp_path / "run" / "checkpoints"


def test_a_folder_that_is_only_called_checkpoints_is_fine(tmp_path):
    (tmp_path / "checkpoints" / "my_runs").mkdir(parents=True)
    workdir, _ = prepare_workdir(tmp_path / "checkpoints" / "run")
    assert workdir.is_dir()


def test_reader_is_told_what_is_missing(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        find_checkpoints(tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is not a folder"):
        find_checkpoints(tmp_path / "file")
    with pytest.raises(CheckpointError, match="has no folder 'checkpoints'"):
        find_checkpoints(tmp_path)


def test_second_run_is_refused_and_told_who_has_the_folder(tmp_path):
    holder = start_holder(tmp_path)
    try:
        with pytest.raises(RunError, match=rf"in use by another run \(process {holder.pid} on .*\)"):
            RunLock(tmp_path).acquire()
    finally:
        holder.kill()
        holder.communicate()


def test_lock_of_a_killed_run_does_not_block(tmp_path):
    holder = start_holder(tmp_path)
    holder.kill()
    holder.communicate()
    assert holder.returncode == -signal.SIGKILL
    assert (tmp_path / ".lock").read_text() != ""
    with RunLock(tmp_path):
        pass


def test_lock_within_one_process_and_again_after_release(tmp_path):
    with RunLock(tmp_path), pytest.raises(RunError, match=f"process {os.getpid()} on"):
        RunLock(tmp_path).acquire()
    with RunLock(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == ""


def test_lock_file_that_is_no_file(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(RunError, match=r"lock .* cannot be opened: Is a directory"):
        RunLock(tmp_path).acquire()


def test_run_that_failed_before_it_wrote_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), open_workdir(tmp_path / "a" / "b"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_run_that_failed_before_its_first_checkpoint_was_begun_leaves_nothing(tmp_path):
    with pytest.raises(ValueError), open_workdir(tmp_path / "new" / "run") as workdir:
        (workdir / "checkpoints").mkdir()
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_run_that_wrote_keeps_its_folder(tmp_path):
    with pytest.raises(KeyError), open_workdir(tmp_path / "a" / "b") as workdir:
        (workdir / "config.json").touch()
        raise KeyError
    assert (tmp_path / "a" / "b" / "config.json").exists()


def test_folder_that_was_there_before_is_never_removed(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(KeyError), open_workdir(tmp_path / "run"):
        raise KeyError
    assert (tmp_path / "run").is_dir()
    remove_if_unused([tmp_path / "gone"])


def test_lock_survives_the_removal_of_its_file_by_the_run_before(tmp_path):
    # A run that waits between opening and locking must not end up with the lock of a file that is gone.
    first = RunLock(tmp_path)
    first.acquire()
    (tmp_path / ".lock").unlink()
    with RunLock(tmp_path):
        assert (tmp_path / ".lock").exists()
        first.release()
        with pytest.raises(RunError, match="in use"):
            RunLock(tmp_path).acquire()


def test_runs_that_start_in_the_same_second_have_folders_of_their_own(tmp_path):
    with new_workdir(tmp_path / "runs", "smoke") as first, new_workdir(tmp_path / "runs", "smoke") as second:
        assert (first.name, second.name) == ("smoke", "smoke-2")
        assert first.is_dir() and second.is_dir()


def test_a_new_folder_is_removed_where_the_run_wrote_nothing(tmp_path):
    for name in ("", "config.json"):
        with pytest.raises(KeyError), new_workdir(tmp_path, f"run{name}") as folder:
            if name:
                (folder / name).write_text("{}")
            raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["runconfig.json"]


def test_a_new_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(RunError, match="runs/smoke cannot be created: .*; give --workdir"):
        new_workdir(tmp_path / "runs", "smoke").__enter__()
