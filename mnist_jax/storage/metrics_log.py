"""What a run writes as it goes: ``metrics.jsonl`` and TensorBoard events, intact after any stop.

The other files of a run are in json_files.py; docs/files_of_a_run.md describes every field.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mnist_jax.errors import RunError
from mnist_jax.runtime.regular_file import read_regular
from mnist_jax.storage.field_types import is_metrics_record
from mnist_jax.storage.json_files import (
    METRICS_FILE,
    TENSORBOARD_FOLDER,
    plain_json,
    replace_file,
    writing,
)

# Fields that two runs of the same seed do not share; everything else is equal bit for bit on CPU.
TIMING_FIELDS = frozenset({"images_per_second", "steps_per_second", "seconds", "eval_seconds"})

# TensorBoard's files are fsynced when flushed, which costs milliseconds on a slow disk.
_TENSORBOARD_FLUSH_SECONDS = 10.0
_LAST_STEP = 2**31

_MAX_METRICS_BYTES = 2**30


class MetricsWriter:
    """Appends to ``metrics.jsonl`` and to TensorBoard events, and mends both when a run goes on.

    A line is with the system when ``write`` returns, so a killed process loses nothing; ``sync`` also
    outlasts a power cut and belongs before each checkpoint.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, resume_step: int = 0, enabled: bool = True):
        """Opens the files in ``workdir``, which must exist; not ``enabled``, every method does nothing.

        Lines past ``resume_step``, the step that was restored, are cut, and TensorBoard is told to discard
        what it has past it. 0 starts from scratch: every line is removed.

        Raises:
            RunError: a file cannot be read or written.
        """
        self.notice = ""  # what was mended when the files were opened
        # Receives ``(step, {"split/name": value})`` of each line.
        self.on_scalars: Callable[[int, Mapping[str, float]], None] = lambda step, values: None
        self._enabled = enabled
        self._closed = False
        if not enabled:
            return
        self._path = Path(workdir).absolute() / METRICS_FILE
        self.notice = _mend_metrics(self._path, resume_step)
        with writing(self._path):
            # Unbuffered and appending: one write call is one complete line.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            self._file = open(os.open(self._path, flags, 0o666), "ab", buffering=0)  # noqa: SIM115  (see close)
        try:
            self._events = _EventLog(self._path.parent / TENSORBOARD_FOLDER, resume_step)
        except BaseException:
            self._file.close()
            raise

    def write(self, *, step: int, epoch: int, split: str, **values: Any) -> None:
        """Writes one line, and each number in it as the TensorBoard scalar ``split/name``.

        Epochs count from 1. Values are numbers (Python's, NumPy's or 0-d arrays), strings or ``None``; NaN
        and infinities become null.

        Raises:
            RunError: the disk is full or the file cannot be written; ``metrics.jsonl`` still ends in
                a complete line.
            ValueError: the writer is closed.
            TypeError: a value has no place in JSON.
        """
        if not self._enabled:
            return
        if self._closed:
            raise ValueError("write() on a closed MetricsWriter; expected an open one")
        record = plain_json({"step": step, "epoch": epoch, "split": split, **values})
        self._append(json.dumps(record, allow_nan=False).encode() + b"\n")
        scalars = {
            f"{split}/{name}": float(record[name]) for name in values if type(record[name]) in (int, float)
        }
        self._events.write_scalars(record["step"], scalars)
        self.on_scalars(record["step"], scalars)

    def write_summary(self, step: int, summary: Any) -> None:
        """Writes something other than scalars for TensorBoard, also after ``close``.

        Args:
            step: optimizer steps done.
            summary: a ``Summary`` of tensorboardX.

        Raises:
            RunError: the disk is full or the file cannot be written.
        """
        if self._enabled and not self._closed:
            self._events.write(step, summary)
        elif self._enabled:
            # A file of its own, which discards nothing that the others have.
            events = _EventLog(self._path.parent / TENSORBOARD_FOLDER, resume_step=_LAST_STEP)
            try:
                events.write(step, summary)
                events.flush()
            finally:
                events.close()

    def sync(self) -> None:
        """Waits until everything written is on the disk, for a checkpoint to rely on; raises as `write`."""
        if not self._enabled or self._closed:
            return
        with writing(self._path):
            os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        """Writes what is left and closes the files; a second call does nothing; raises as `write`."""
        if not self._enabled or self._closed:
            return
        try:
            self.sync()
        finally:
            self._closed = True
            self._file.close()
            self._events.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        try:
            self.close()
        except RunError:
            # The fault that is already on its way says more than the same full disk met again here.
            if exc_type is None:
                raise

    def _append(self, line: bytes) -> None:
        before = os.fstat(self._file.fileno()).st_size
        try:
            with writing(self._path):
                written = 0
                while written < len(line):
                    written += self._file.write(line[written:]) or 0
        except RunError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), before)
            raise


class _EventLog:
    """One TensorBoard event file, written in this thread.

    tensorboardX' own SummaryWriter hands events to a thread through a bounded queue: when the disk is full
    the thread dies unheard and the run hangs on the full queue. So this uses the layer below it.
    """

    def __init__(self, folder: Path, resume_step: int):
        # Imported here: it takes 0.1 s that --help and the tests of other files need not pay.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._path = folder
        with writing(folder):
            folder.mkdir(exist_ok=True)
            numbers = [_event_file_number(name) for name in os.listdir(folder) if "tfevents" in name]
            # TensorBoard reads the files in the order of their names. A running number keeps that order when
            # the clock jumps, and keeps two starts within one second from overwriting each other.
            self._writer = EventsWriter(str(folder / f"events.{max(numbers, default=0) + 1:04d}"))
        if numbers:
            purge_step = resume_step + 1 if resume_step > 0 else 0
            start = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(wall_time=time.time(), step=purge_step, session_log=start))
        try:
            self.flush()
        except RunError:
            self.close()
            raise

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        if scalars:
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
            self.write(step, Summary(value=values))

    def write(self, step: int, summary: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with writing(self._path):
            self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        if time.monotonic() - self._last_flush >= _TENSORBOARD_FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._last_flush = time.monotonic()
        with writing(self._path):
            self._writer.flush()

    def close(self) -> None:
        # Not EventsWriter.close: it leaves the file open when its flush meets a full disk. Whoever closes has
        # flushed before and has heard of that.
        with contextlib.suppress(OSError):
            self._writer._py_recordio_writer.close()


def read_metrics(workdir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads ``metrics.jsonl`` of a run, without incomplete lines (a run may be writing right now).

    Raises:
        RunError: the file is missing or cannot be read.
    """
    path = Path(workdir) / METRICS_FILE
    try:
        content = read_regular(path, _MAX_METRICS_BYTES)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; expected the metrics of a run") from error
    return [record for _, record in _records(content) if record is not None]


def _mend_metrics(path: Path, resume_step: int) -> str:
    """Keeps the complete lines up to ``resume_step`` (none for 0) and returns what it dropped, in words."""
    try:
        content = read_regular(path, _MAX_METRICS_BYTES)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; expected a file of this run") from error
    kept, broken, past = [], 0, 0
    for line, record in _records(content):
        if record is None:
            broken += 1
        elif resume_step == 0 or record["step"] > resume_step:
            past += 1
        else:
            kept.append(line + b"\n")
    mended = b"".join(kept)
    if mended == content:
        return ""
    replace_file(path, mended)
    done = [f"cut {_count_lines(past)} past step {resume_step}"] if past else []
    done += [f"removed {_count_lines(broken, 'broken ')}"] if broken else []
    return f"{path.name}: {' and '.join(done) or 'completed the last line'}"


def _records(content: bytes) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Each line with its record, or with ``None`` where it is torn or none of ours."""
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            record = None
        yield line, record if is_metrics_record(record) else None


def _refuse_constant(token: str) -> None:
    raise ValueError(f"{token} is not JSON")


def _count_lines(count: int, kind: str = "") -> str:
    return f"{count} {kind}{'line' if count == 1 else 'lines'}"


def _event_file_number(name: str) -> int:
    match = re.match(r"events\.(\d+)\.", name)
    return int(match[1]) if match else 0
