"""Checkpoints that survive being killed: Orbax behind one small interface.

A checkpoint is ``DIRECTORY/STEP/``: Orbax writes ``state/`` and ``meta/`` under a temporary name and renames
the folder, then comes its manifest (see ``manifest``), and only then are older checkpoints removed.
"""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.checkpoints.manifest import (
    FORMAT_VERSION,
    META_FILE,
    STATE_DIR,
    describe_leaves,
    leaf_differences,
    write_manifest,
)
from mnist_jax.checkpoints.orbax_noise import OrbaxNoise
from mnist_jax.errors import CheckpointError
from mnist_jax.runtime.collectives import on_primary, raise_together
from mnist_jax.runtime.distributed import is_multiprocess
from mnist_jax.runtime.regular_file import read_json
from mnist_jax.storage.json_files import fsync_directory

_ORBAX_METADATA = "_METADATA"
BEST_METRIC = "accuracy"

_logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run: saved in the background, verified before use.

    One thread of one process may save into a folder at a time (``workdir.RunLock``); with several JAX
    processes all of them make the same calls. Every method first waits for the save under way, and raises
    what went wrong in it. Steps that are damaged, empty, half copied or without manifest are named in a
    warning, once each, and skipped.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep_latest: int = 2,
        keep_best: int = 1,
        best_metric: str = BEST_METRIC,
        read_only: bool = False,
        on_warning: Callable[[str], None] = _logger.warning,
    ):
        """Opens the folder and, unless ``read_only``, creates it and clears what killed saves left in it.

        Args:
            directory: usually ``WORKDIR/checkpoints``; relative paths start at the current folder.
            keep_latest: this many newest checkpoints are kept, at least 1.
            keep_best: this many with the best ``best_metric`` are kept as well.
            best_metric: name among the ``metrics`` given to ``save``; of ``loss`` less is better, of any
                other more, of equals the earlier step.
            read_only: nothing is created, cleared or saved.
            on_warning: receives each warning, one line; called from a thread of its own where a save ends.

        Raises:
            ValueError: ``keep_latest`` or ``keep_best`` is too small.
            CheckpointError: the folder cannot be created or cleared.
        """
        if keep_latest < 1 or keep_best < 0:
            raise ValueError(
                f"expected keep_latest >= 1 and keep_best >= 0, got {keep_latest} and {keep_best}"
            )
        self._folder = CheckpointFolder(directory, best_metric, on_warning)
        self._keep_latest = keep_latest
        self._keep_best = keep_best
        self._read_only = read_only
        self._manager: ocp.CheckpointManager | None = None
        self._noise = OrbaxNoise()
        self._saving: threading.Thread | None = None
        self._saving_step = -1
        self._error: BaseException | None = None
        if not read_only:
            on_primary(self._prepare_folder)
            if not fsync_directory(self.directory):
                _leave_syncing_to_the_manifest()

    @property
    def directory(self) -> Path:
        """The folder, absolute."""
        return self._folder.path

    def save(
        self, step: int, state: Any, meta: Mapping[str, Any], metrics: Mapping[str, float] | None = None
    ) -> bool:
        """Starts saving and returns once the state is copied, so that the caller may donate its buffers.

        A save still under way is waited for first. The checkpoint counts, and older ones are removed, only
        once its manifest is on the disk.

        Args:
            step: training steps done; an intact checkpoint of it stays as it is, a damaged one is replaced.
            state: pytree of arrays.
            meta: anything JSON can hold; ``format_version`` and ``step`` are added.
            metrics: validation metrics of exactly this state; None where it was not evaluated, and then it
                cannot be the best.

        Returns:
            Whether a save was started: False where this step is already there.

        Raises:
            CheckpointError: this save or the one before it failed (disk full, for one).
            TypeError: ``meta`` does not fit into JSON.
            ValueError: opened with ``read_only``.
        """
        if self._read_only:
            raise ValueError(f"{self.directory} was opened with read_only=True, so nothing can be saved")
        self.wait()
        if on_primary(lambda: self._folder.is_intact(step)):
            return False
        # A copy, for it is written in the background while the caller may go on changing its own.
        meta = json.loads(json.dumps({**meta, "format_version": FORMAT_VERSION, "step": step}))
        measured = {name: float(value) for name, value in (metrics or {}).items()}
        # Orbax keeps views of CPU buffers. Whether donation spares those is up to JAX; a copy is ours.
        snapshot = jax.device_put(state, jax.tree.map(lambda leaf: leaf.sharding, state), may_alias=False)
        self._saving_step = step
        self._noise.start()
        try:
            on_primary(lambda: self._folder.remove(step))
            manager = self._open_manager()
            items = ocp.args.Composite(state=ocp.args.StandardSave(snapshot), meta=ocp.args.JsonSave(meta))
            manager.save(step, args=items, force=True)
        except Exception as error:
            raise self._failed(error) from error
        arguments = (manager, step, measured, describe_leaves(state))
        self._saving = threading.Thread(target=self._finish, args=arguments, name="checkpoint_finish")
        self._saving.start()
        return True

    def wait(self) -> None:
        """Returns once the save under way, if any, is safe on the disk.

        Raises:
            CheckpointError: it failed. The checkpoints before it are intact, and saving may be tried again.
        """
        if self._saving is None:
            return
        self._saving.join()
        self._saving = None
        error, self._error = self._error, None
        failure = None if error is None else self._failed(error)
        if failure is not None:
            failure.__cause__ = error
        # Only now is the manifest there for all processes.
        raise_together(failure, f"saving checkpoint {self._saving_step}")

    def close(self) -> None:
        """Waits for the save under way and ends the background threads; raises as ``wait``."""
        try:
            self.wait()
        finally:
            if self._manager is not None:
                self._manager.close()
                self._manager = None
            self._noise.stop()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, exc_type: object, *exception: object) -> None:
        # One failed process of several does not wait for the others' help.
        if exc_type is None or not is_multiprocess():
            self.close()

    def latest_step(self) -> int | None:
        """Returns the newest intact checkpoint, None where there is none.

        Raises:
            CheckpointError: one was written by a newer version.
        """
        self.wait()
        return on_primary(
            lambda: next((s for s, _ in self._folder.intact(self._folder.latest_first())), None)
        )

    def read_meta(self, step: int) -> dict[str, Any]:
        """The ``meta`` saved with one checkpoint, without reading its arrays.

        Raises:
            CheckpointError: there is no such checkpoint, or its meta is damaged.
        """
        self.wait()
        return read_meta(self._folder, step)

    def restore(
        self, which: int | str, target: Any, *, below: Sequence[str] = ()
    ) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint, or parts of it, after verifying it.

        Args:
            which: a step, ``"latest"`` or ``"best"``. For the two words a damaged checkpoint is skipped
                for the next latest or next best.
            target: pytree of arrays or ``jax.ShapeDtypeStruct`` of today's model. Each leaf is placed as its
                ``sharding`` says, on the first device where it has none; where it was saved does not matter.
            below: paths such as ``state/params`` of the parts that ``target`` has; empty = it has everything.

        Returns:
            The state, shaped as ``target``, and the meta (``meta["step"]`` says which step it is).

        Raises:
            CheckpointError: there is none, the given step is missing or damaged, it holds other arrays than
                ``target`` (each difference is listed), or it was written by a newer version.
        """
        self.wait()
        if isinstance(which, int):
            step, manifest = which, self._folder.require(which)
        elif which in ("latest", "best"):
            candidates = self._folder.latest_first() if which == "latest" else self._folder.best_first()
            found = next(self._folder.intact(candidates), None)
            if found is None:
                raise CheckpointError(f"no usable checkpoint in {self.directory}")
            step, manifest = found
        else:
            raise CheckpointError(f"checkpoint {which!r}: expected a step, 'latest' or 'best'")
        wanted = tuple(f"{path}/" for path in below) or ("",)
        saved = {path: leaf for path, leaf in manifest.leaves.items() if path.startswith(wanted)}
        differences = leaf_differences(saved, describe_leaves(target))
        if differences:
            raise CheckpointError(
                f"checkpoint {step} in {self.directory} does not fit this model:\n  "
                + "\n  ".join(differences)
            )
        self._noise.start()
        try:
            state = _read_state(self._folder.step_path(step) / STATE_DIR, _placed(target), bool(below))
        except Exception as error:
            self._noise.failed()
            raise CheckpointError(
                f"checkpoint {step} in {self.directory}: its state cannot be read ({_reason(error)})"
            ) from error
        return state, self.read_meta(step)

    def remove_after(self, step: int) -> None:
        """Removes every checkpoint newer than ``step``.

        Raises:
            CheckpointError: one cannot be removed.
        """
        self.wait()
        on_primary(lambda: self._remove([newer for newer in self._folder.latest_first() if newer > step]))

    def _remove(self, steps: list[int]) -> None:
        try:
            for step in steps:
                self._folder.remove(step)
        except OSError as error:
            raise CheckpointError(f"old checkpoints in {self.directory}: {error.strerror}") from error

    def _prepare_folder(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._folder.clear_leftovers()
        except OSError as error:
            raise CheckpointError(f"checkpoint folder {self.directory}: {error.strerror}") from error

    def _open_manager(self) -> ocp.CheckpointManager:
        # Orbax would remove old steps before our manifest exists, and count damaged folders as checkpoints:
        # so it is told to keep everything, and `_retain` removes. It is a new one each time: to reload, Orbax
        # reads the metadata of every step, and may fail at a damaged one.
        if self._manager is not None:
            self._manager.close()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.LatestN(None), lightweight_initialize=True
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)
        return self._manager

    def _finish(
        self, manager: ocp.CheckpointManager, step: int, metrics: dict[str, float], leaves: dict[str, str]
    ) -> None:
        try:
            manager.wait_until_finished()
            if jax.process_index() == 0:
                write_manifest(self._folder.step_path(step), step, metrics, leaves)
                self._retain(step)
        # Whatever it is, `wait` raises it in the caller's thread.
        except BaseException as error:
            self._error = error

    def _retain(self, newest: int) -> None:
        """Removes old intact steps, and damaged ones before ``newest``, which is safe by now."""
        intact = [step for step in self._folder.latest_first() if self._folder.is_intact(step)]
        best = [step for step in self._folder.best(len(intact)) if step in intact]
        keep = {newest, *intact[: self._keep_latest], *best[: self._keep_best]}
        for step in self._folder.latest_first():
            if step not in keep and (step in intact or step < newest):
                try:
                    self._folder.remove(step)
                except OSError as error:
                    self._folder.warn(f"old checkpoint {step} in {self.directory}: {error.strerror}")

    def _failed(self, error: BaseException) -> CheckpointError:
        """Clears up after a failed save and returns what to raise."""
        step = self._saving_step
        self._noise.failed()
        # After an error Orbax' manager still counts the failed step; a new one looks at what is on the disk.
        # Closing it raises the same error again.
        with contextlib.suppress(Exception):
            if self._manager is not None:
                self._manager.close()
        self._manager = None
        try:
            if jax.process_index() == 0:
                if not self._folder.is_intact(step):
                    self._folder.remove(step)
                self._folder.clear_leftovers()
        except OSError as cleanup_error:
            self._folder.warn(f"checkpoint folder {self.directory}: {cleanup_error.strerror}")
        return CheckpointError(f"saving checkpoint {step} in {self.directory} failed: {_reason(error)}")


def read_meta(folder: CheckpointFolder, step: int) -> dict[str, Any]:
    """As `Checkpoints.read_meta`, of a folder that nothing is saved into."""
    folder.require(step, prefix=META_FILE)
    path = folder.step_path(step)
    try:
        meta = read_json(path / META_FILE)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {step} in {path.parent}: {META_FILE}: {error}") from error
    if not isinstance(meta, dict) or meta.get("step") != step:
        raise CheckpointError(f"checkpoint {step} in {path.parent}: {META_FILE} is not that of this step")
    return meta


def _leave_syncing_to_the_manifest() -> None:
    """Stops TensorStore from syncing, for file systems on which it fails because they sync no folders.

    The manifest syncs each file once more anyway. Orbax has no option for it: these are its internals.
    """
    from orbax.checkpoint._src.serialization import tensorstore_utils, type_handler_registry

    for settings in (tensorstore_utils._BASE_TS_CONTEXT, tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT):
        settings["file_io_sync"] = False
    handler: Any = type_handler_registry.GLOBAL_TYPE_HANDLER_REGISTRY.get(jax.Array)
    handler._ts_context = tensorstore_utils.get_ts_context(use_ocdbt=False)


def _placed(target: Any) -> Any:
    """The target with a sharding on each leaf, which Orbax needs for arrays saved on other devices."""
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def place(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or first)

    return jax.tree.map(place, target)


def _read_state(path: Path, target: Any, is_part: bool) -> Any:
    if (path / _ORBAX_METADATA).exists():
        read_json(path / _ORBAX_METADATA)  # made to harm, it is refused here and not within Orbax
    if not is_part:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(path, target)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        restore_args = ocp.checkpoint_utils.construct_restore_args(target)
        arguments = ocp.args.PyTreeRestore(target, restore_args=restore_args, partial_restore=True)
        return checkpointer.restore(path, args=arguments)


def _reason(error: BaseException) -> str:
    """One line, with the cause people can act on."""
    text = " ".join(str(error).split()).partition(" See full TensorStore")[0] or type(error).__name__
    return "no space left on the disk" if "No space left on device" in text else text[:300]
