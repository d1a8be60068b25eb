"""What comes back, what is refused, and what being killed, a full disk or a flipped bit leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mnist_jax.checkpoints import manifest
from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.checkpoints.manager import Checkpoints
from mnist_jax.errors import CheckpointError
from mnist_jax.training.state import TrainState, initial_state
from tests import checkpoint_killer
from tests.full_disk import small_disk
from tests.states import create_train_state


class TinyModel(nn.Module):
    """Everything a state of the real one has: kernels, biases, BatchNorm statistics."""

    num_classes: int = 10
    hidden: int = 8

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        hidden = nn.BatchNorm(use_running_average=not train)(
            nn.Dense(self.hidden)(images.reshape(len(images), -1))
        )
        return nn.Dense(self.num_classes)(hidden)


def tiny_state(
    seed: int = 0,
    tx: optax.GradientTransformation | None = None,
    ema: bool = True,
    create=create_train_state,
    **model,
) -> TrainState:
    model = TinyModel(**model)
    return create(jax.random.key(seed), model, (4, 4, 1), tx or optax.adam(1e-3), use_ema=ema)


def shapes_of_tiny_state(*args, **options) -> TrainState:
    return jax.eval_shape(lambda: tiny_state(*args, create=initial_state, **options))


def assert_same(actual: object, expected: object) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def save_steps(directory: Path, accuracies: dict[int, float | None], **options) -> None:
    with Checkpoints(directory, **options) as checkpoints:
        for step, accuracy in accuracies.items():
            metrics = None if accuracy is None else {"accuracy": accuracy}
            assert checkpoints.save(step, {"x": jnp.full((3,), step)}, {"epoch": step}, metrics)


def restore_x(directory: Path, which: int | str) -> tuple[float, list[str]]:
    """The one number in a checkpoint of `save_steps`, and the warnings on the way to it."""
    warnings: list[str] = []
    checkpoints = Checkpoints(directory, read_only=True, on_warning=warnings.append)
    state, meta = checkpoints.restore(which, {"x": jax.ShapeDtypeStruct((3,), jnp.int32)})
    assert meta["step"] == state["x"][0]
    return int(state["x"][0]), warnings


def intact_steps(directory: Path) -> list[int]:
    """The checkpoints that pass verification, oldest first."""
    folder = CheckpointFolder(directory, "accuracy", on_warning=lambda message: None)
    return [step for step in reversed(folder.latest_first()) if folder.is_intact(step)]


def array_file(step_folder: Path) -> Path:
    """The largest file of Orbax' array store."""
    return max((step_folder / "state").rglob("d/*"), key=lambda path: path.stat().st_size)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("ema", [True, False])
def test_train_state_and_meta_come_back_bit_for_bit(tmp_path, ema):
    state = tiny_state(ema=ema).replace(step=jnp.int32(7))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state, {"epoch": 2, "seed": 3, "best": {"step": 4}}, {"accuracy": 0.5})
    with Checkpoints(tmp_path) as checkpoints:
        for which in ("latest", "best", 7):
            # From shapes alone, as a program does that never trained.
            restored, meta = checkpoints.restore(which, shapes_of_tiny_state(1, ema=ema))
            # Functions are no part of a checkpoint: those of the target are used.
            assert_same(restored.replace(apply_fn=state.apply_fn, tx=state.tx), state)
            assert meta == {"epoch": 2, "seed": 3, "best": {"step": 4}, "format_version": 2, "step": 7}
        assert checkpoints.read_meta(7) == meta
    assert manifest.read_manifest(tmp_path / "7").metrics == {"accuracy": 0.5}


def test_caller_may_donate_the_state_at_once(tmp_path):
    advance = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    state = advance({"x": jnp.zeros((512, 1024)), "y": jnp.zeros((3,), jnp.int32)})
    with Checkpoints(tmp_path, keep_latest=3) as checkpoints:
        for step in (1, 2, 3):
            expected = float(state["x"][0, 0])
            checkpoints.save(step, state, {"value": expected})
            for _ in range(20):
                state = advance(state)
        for step in (1, 2, 3):
            restored, meta = checkpoints.restore(step, state)
            assert set(np.unique(restored["x"])) == {meta["value"]}
            # A restored state can be donated too.
            assert set(np.unique(advance(restored)["x"])) == {meta["value"] + 1}


@pytest.mark.parametrize("spec", [PartitionSpec(), PartitionSpec("data")])
def test_saved_on_8_devices_restores_on_1_and_back(tmp_path, spec):
    values = {"kernel": np.arange(64, dtype=np.float32).reshape(16, 4), "step": np.int32(5)}
    mesh = Mesh(np.array(jax.devices()), ("data",))
    everywhere = {"kernel": NamedSharding(mesh, spec), "step": NamedSharding(mesh, PartitionSpec())}
    on_eight = jax.device_put(values, everywhere)
    on_one = jax.device_put(values, jax.devices()[0])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, on_eight, {})
        narrow, _ = checkpoints.restore(1, on_one)
        checkpoints.save(2, narrow, {})
        wide, _ = checkpoints.restore(2, on_eight)
    assert_same(narrow, values)
    assert narrow["kernel"].devices() == {jax.devices()[0]}
    assert_same(wide, values)
    assert wide["kernel"].sharding == everywhere["kernel"]


def test_keeps_the_latest_and_the_best_across_restarts(tmp_path):
    save_steps(tmp_path, {1: 0.7, 2: 0.9, 3: 0.8}, keep_latest=2, keep_best=1)
    # Equal to step 2, which came first and stays the best; 5 was not evaluated, 6 is not a number.
    save_steps(tmp_path, {4: 0.9, 5: None, 6: float("nan")}, keep_latest=2, keep_best=1)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert intact_steps(tmp_path) == [2, 5, 6]
    assert checkpoints.latest_step() == 6
    assert restore_x(tmp_path, "best") == (2, [])


def test_of_losses_the_least_is_best(tmp_path):
    with Checkpoints(tmp_path, best_metric="loss", keep_latest=1) as checkpoints:
        for step, loss in ((1, 0.7), (2, 0.2), (3, 0.2), (4, 0.9)):
            checkpoints.save(step, {"x": jnp.full((3,), step)}, {}, {"accuracy": 0.1 * step, "loss": loss})
        checkpoints.wait()
        assert sorted(int(path.name) for path in tmp_path.iterdir()) == [2, 4]
        _, meta = checkpoints.restore("best", {"x": jax.ShapeDtypeStruct((3,), jnp.int32)})
        assert meta["step"] == 2


def test_what_is_newer_than_a_step_can_be_removed(tmp_path):
    save_steps(tmp_path, {1: 0.5, 2: 0.9, 3: 0.6}, keep_latest=3)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.remove_after(2)
        assert checkpoints.latest_step() == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_best_is_the_latest_where_nothing_was_measured(tmp_path):
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        restore_x(tmp_path, "best")
    save_steps(tmp_path, {1: None, 2: None})
    assert restore_x(tmp_path, "best") == (2, [])


def test_a_whole_step_is_not_saved_again(tmp_path):
    save_steps(tmp_path, {1: 0.5})
    before = (tmp_path / "1" / "manifest.json").stat().st_mtime_ns
    with Checkpoints(tmp_path) as checkpoints:
        assert not checkpoints.save(1, {"x": jnp.zeros((3,))}, {})
    assert (tmp_path / "1" / "manifest.json").stat().st_mtime_ns == before
    assert restore_x(tmp_path, 1) == (1, [])


def damage_empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def damage_half_copied(folder: Path) -> None:
    array_file(folder).unlink()


def damage_truncated(folder: Path) -> None:
    os.truncate(array_file(folder), 10)


def damage_file_in_its_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def damage_copy_of_another(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "2", folder)


DAMAGES = {
    "empty folder": (damage_empty, "the folder is empty"),
    "half copied": (damage_half_copied, "is missing"),
    "truncated array": (damage_truncated, "has 10 bytes instead of"),
    "flipped array byte": (lambda folder: flip_byte(array_file(folder)), "does not match its SHA-256"),
    "no Orbax metadata": (lambda folder: (folder / "state/_METADATA").unlink(), "state/_METADATA is missing"),
    "no meta": (lambda folder: shutil.rmtree(folder / "meta"), "meta/.* is missing"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "its save was not finished"),
    "flipped manifest byte": (lambda folder: flip_byte(folder / "manifest.json"), "manifest.json"),
    "torn manifest": (
        lambda folder: os.truncate(folder / "manifest.json", 50),
        "manifest.json cannot be read",
    ),
    "a file": (damage_file_in_its_place, "not a folder"),
    "copy of another step": (damage_copy_of_another, "manifest is that of step 2"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_is_named_passed_over_and_replaced(tmp_path, damage):
    save_steps(tmp_path, {1: 0.5, 2: 0.6, 3: 0.7}, keep_latest=3)
    make, reason = DAMAGES[damage]
    make(tmp_path / "3")

    for which in ("latest", "best"):
        step, warnings = restore_x(tmp_path, which)
        assert step == 2
        if which == "latest" or damage in ("truncated array", "flipped array byte"):
            assert len(warnings) == 1 and "\n" not in warnings[0]
            assert warnings[0].startswith(f"checkpoint 3 in {tmp_path} is damaged")
    with pytest.raises(CheckpointError, match=f"checkpoint 3 .*{reason}.*there are: 1, 2"):
        Checkpoints(tmp_path, read_only=True, on_warning=lambda message: None).restore(3, {})

    # The run goes on from 2 and reaches 3 once more.
    save_steps(tmp_path, {3: 0.7}, keep_latest=3, on_warning=lambda message: None)
    assert restore_x(tmp_path, "latest") == (3, [])
    assert intact_steps(tmp_path) == [1, 2, 3]


def test_broken_steps_are_removed_once_a_newer_one_is_safe_but_not_before(tmp_path):
    save_steps(tmp_path, {1: None, 2: None})
    (tmp_path / "999").mkdir()
    flip_byte(array_file(tmp_path / "2"))
    save_steps(tmp_path, {3: None}, keep_latest=2, on_warning=lambda message: None)
    # 1 still counts as one of the two latest whole ones; 999 may yet be overtaken.
    assert {path.name for path in tmp_path.iterdir()} == {"1", "3", "999"}
    step, warnings = restore_x(tmp_path, "latest")
    assert step == 3 and "checkpoint 999" in warnings[0]


@pytest.mark.parametrize("content", [None, b"", bytes(16), b"\xff", b"5", b"[]", b'{"item_handlers": 5}'])
def test_newer_steps_that_a_power_cut_damaged_are_not_looked_at(tmp_path, caplog, content):
    save_steps(tmp_path, {1: None, 8: None, 9: None}, keep_latest=3)
    for step in (8, 9):
        (tmp_path / str(step) / "manifest.json").unlink()
        metadata = tmp_path / str(step) / "_CHECKPOINT_METADATA"
        metadata.unlink() if content is None else metadata.write_bytes(content)
    warnings = []
    save_steps(tmp_path, {2: None, 3: None}, keep_latest=3, on_warning=warnings.append)
    assert intact_steps(tmp_path) == [1, 2, 3]
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
    assert restore_x(tmp_path, "latest")[0] == 3


def test_nothing_usable_and_missing_step(tmp_path):
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        Checkpoints(tmp_path / "none", read_only=True).restore("latest", {})
    assert not (tmp_path / "none").exists()
    save_steps(tmp_path, {1: None, 2: None})
    with pytest.raises(CheckpointError, match=r"checkpoint 7 .* is not there \(there are: 1, 2\)"):
        Checkpoints(tmp_path, read_only=True).read_meta(7)
    with pytest.raises(CheckpointError, match="'newest': expected a step, 'latest' or 'best'"):
        Checkpoints(tmp_path, read_only=True).restore("newest", {})


MISFITS = {
    "class count": (
        {"num_classes": 47},
        "params/Dense_1/kernel: float32[8,10] in the checkpoint, float32[8,47]",
    ),
    "architecture": (
        {"hidden": 9},
        "params/BatchNorm_0/scale: float32[8] in the checkpoint, float32[9] expected",
    ),
    "optimizer": (
        {"tx": optax.sgd(0.1)},
        "opt_state/0/mu/Dense_0/bias: float32[8] in the checkpoint, not expected",
    ),
    "no average": (
        {"ema": False},
        "ema/batch_stats/BatchNorm_0/mean: float32[8] in the checkpoint, not expected",
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_another_model_is_refused_with_each_difference(tmp_path, misfit):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, tiny_state(), {})
        options, line = MISFITS[misfit]
        with pytest.raises(CheckpointError) as refusal:
            checkpoints.restore("latest", shapes_of_tiny_state(**options))
    head, *lines = str(refusal.value).splitlines()
    assert head == f"checkpoint 5 in {tmp_path} does not fit this model:"
    assert any(line in each for each in lines)


def test_other_dtype_and_missing_average_are_named(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, {"a": jnp.zeros((2, 3), jnp.bfloat16)}, {})
        with pytest.raises(CheckpointError) as refusal:
            checkpoints.restore(5, {"a": jnp.zeros((2, 3)), "ema": jnp.zeros(())})
    assert str(refusal.value).splitlines()[1:] == [
        "  a: bfloat16[2,3] in the checkpoint, float32[2,3] expected",
        "  ema: not in the checkpoint, float32[] expected",
    ]


@pytest.mark.parametrize(("version", "other"), [(1, "older"), (3, "newer")])
def test_another_format_is_refused_not_skipped(tmp_path, version, other):
    save_steps(tmp_path, {1: None, 2: None})
    path = tmp_path / "2" / "manifest.json"
    body = json.loads(path.read_text())["manifest"] | {"format_version": version, "something_new": 1}
    path.write_text(json.dumps({"sha256": manifest._body_sha256(body), "manifest": body}))
    message = f"has format {version}, this version of mnist_jax reads format 2: use the {other} version"
    with pytest.raises(CheckpointError, match=message):
        restore_x(tmp_path, "latest")


def test_relative_path_spaces_and_symlink(tmp_path, monkeypatch):
    (tmp_path / "real folder").mkdir()
    (tmp_path / "a link").symlink_to("real folder")
    monkeypatch.chdir(tmp_path)
    with Checkpoints("a link/check points") as checkpoints:
        monkeypatch.chdir("/")
        checkpoints.save(1, {"x": jnp.ones((3,), jnp.int32)}, {})
    assert restore_x(tmp_path / "real folder" / "check points", 1) == (1, [])


def test_leftovers_of_killed_saves_are_cleared_by_a_writer_only(tmp_path):
    save_steps(tmp_path, {1: None})
    for name in ("2.orbax-checkpoint-tmp", "0.removed", "notes", "2.5"):
        (tmp_path / name / "state").mkdir(parents=True)
    assert Checkpoints(tmp_path, read_only=True).latest_step() == 1
    assert len(list(tmp_path.iterdir())) == 5
    Checkpoints(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "notes", "2.5"}


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="keep_latest >= 1"):
        Checkpoints(tmp_path, keep_latest=0)
    with pytest.raises(ValueError, match="read_only"):
        Checkpoints(tmp_path, read_only=True).save(1, {}, {})
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(TypeError):
        checkpoints.save(1, {"x": jnp.zeros(())}, {"not json": object()})
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="checkpoint folder"):
        Checkpoints(tmp_path / "file")


@pytest.mark.parametrize("phase", checkpoint_killer.PHASES)
def test_killed_in_each_phase_of_a_save(tmp_path, phase):
    directory = tmp_path / "checkpoints"
    command = [sys.executable, checkpoint_killer.__file__, phase, str(directory)]
    process = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    safe = phase in ("named", "renamed_old", "half_deleted_old")

    warnings: list[str] = []
    with Checkpoints(directory, on_warning=warnings.append) as checkpoints:
        latest = checkpoints.latest_step()
        assert latest == (3 if safe else 2)
        assert 2 in intact_steps(directory)
        restored, meta = checkpoints.restore("latest", checkpoint_killer.state_at(0))
        assert_same(restored, checkpoint_killer.state_at(latest))
        assert meta["epoch"] == latest
        # Only a step that had its final name already is worth a word.
        assert len(warnings) == (phase in ("finalized", "hashed"))
        for step in (3, 4):
            checkpoints.save(step, checkpoint_killer.state_at(step), {"epoch": step})
    assert {path.name for path in directory.iterdir()} >= {"3", "4"}
    assert not [path.name for path in directory.iterdir() if not path.name.isdigit()]
    assert intact_steps(directory)[-2:] == [3, 4]


@pytest.mark.parametrize("room_bytes", [0, 400_000, 1_000_000])
def test_full_disk_is_one_line_and_harms_nothing(tmp_path, capfd, room_bytes):
    state = {"x": jax.random.normal(jax.random.key(0), (300_000,))}
    with (
        small_disk(tmp_path / "disk", 8 * 2**20) as disk,
        Checkpoints(disk.folder / "ck", keep_latest=9) as checkpoints,
    ):
        checkpoints.save(1, state, {})
        checkpoints.wait()
        disk.fill()
        filler = disk.folder / "filler"
        os.truncate(filler, filler.stat().st_size - room_bytes)
        checkpoints.save(2, state, {})
        with pytest.raises(CheckpointError) as failure:
            checkpoints.wait()
        assert str(failure.value) == (
            f"saving checkpoint 2 in {disk.folder / 'ck'} failed: no space left on the disk"
        )
        assert [path.name for path in (disk.folder / "ck").iterdir()] == ["1"]
        assert_same(checkpoints.restore("latest", state)[0], state)
        # With room again, saving goes on.
        filler.unlink()
        assert checkpoints.save(2, state, {})
        checkpoints.wait()
        assert intact_steps(disk.folder / "ck") == [1, 2]
    assert capfd.readouterr().err == ""


def test_error_of_a_save_is_raised_at_the_next_one_or_at_the_end(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mnist_jax.checkpoints.manager.write_manifest", fail)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.zeros(())}, {})
    with pytest.raises(CheckpointError, match="saving checkpoint 1 .* no space left on the disk"):
        checkpoints.save(2, {"x": jnp.zeros(())}, {})
    checkpoints.save(3, {"x": jnp.zeros(())}, {})
    with pytest.raises(CheckpointError, match="saving checkpoint 3"):
        checkpoints.close()
    assert list(tmp_path.iterdir()) == []


def test_old_steps_stay_until_the_new_manifest_is_written(tmp_path, monkeypatch):
    save_steps(tmp_path, {1: None, 2: None})
    seen = []

    def write_manifest(folder, *arguments):
        seen.append({path.name for path in tmp_path.iterdir()})
        manifest.write_manifest(folder, *arguments)

    monkeypatch.setattr("mnist_jax.checkpoints.manager.write_manifest", write_manifest)
    save_steps(tmp_path, {3: None}, keep_latest=1, keep_best=0)
    assert seen == [{"1", "2", "3"}]
    assert {path.name for path in tmp_path.iterdir()} == {"3"}


def test_old_step_that_cannot_be_removed_does_not_fail_the_new_one(tmp_path, monkeypatch):
    save_steps(tmp_path, {1: None})

    def fail(path):
        raise PermissionError(13, "Permission denied")

    warnings: list[str] = []
    with Checkpoints(tmp_path, keep_latest=1, on_warning=warnings.append) as checkpoints:
        checkpoints.save(2, {"x": jnp.full((3,), 2)}, {})
        monkeypatch.setattr("mnist_jax.checkpoints.folder._delete", fail)
    assert warnings == [f"old checkpoint 1 in {tmp_path}: Permission denied"]
    assert restore_x(tmp_path, "latest")[0] == 2


def test_orbax_checkpoint_manager_reads_it(tmp_path):
    save_steps(tmp_path, {4: None})
    with ocp.CheckpointManager(tmp_path) as manager:
        assert manager.latest_step() == 4
        restored = manager.restore(
            4, args=ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
        )
    np.testing.assert_array_equal(restored.state["x"], [4, 4, 4])
    assert restored.meta["epoch"] == 4


REFUSE_TO_SYNC_FOLDERS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>

int fsync(int fd) {
  struct stat s;
  if (fstat(fd, &s) == 0 && S_ISDIR(s.st_mode)) { errno = EINVAL; return -1; }
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
"""
SAVE_TWICE = """
import sys
import jax.numpy as jnp
from mnist_jax.checkpoints.manager import Checkpoints

with Checkpoints(sys.argv[1]) as checkpoints:
    for step in (1, 2):
        checkpoints.save(step, {"x": jnp.full((3,), step)}, {})
"""


@pytest.mark.skipif(
    not (sys.platform == "linux" and shutil.which("cc")), reason="needs Linux and a C compiler"
)
def test_a_file_system_that_syncs_no_folders_holds_checkpoints(tmp_path):
    (tmp_path / "refuse.c").write_text(REFUSE_TO_SYNC_FOLDERS)
    library = tmp_path / "refuse.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "refuse.c", "-ldl"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", SAVE_TWICE, tmp_path / "checkpoints"],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert restore_x(tmp_path / "checkpoints", "latest") == (2, [])
