"""metrics.jsonl and TensorBoard events, and how both are mended when a run goes on."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from mnist_jax.errors import RunError
from mnist_jax.storage import metrics_log
from mnist_jax.storage.metrics_log import MetricsWriter, read_metrics
from tests.full_disk import small_disk


def write_steps(writer, steps):
    for step in steps:
        writer.write(step=step, epoch=1, split="train", loss=1.0 / step)


def metrics_bytes(workdir):
    return (workdir / "metrics.jsonl").read_bytes()


def read_events(path):
    """The events of one file, each checked against its CRCs as TensorBoard does."""
    content, events = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("Q", content[:8])
        assert struct.unpack("I", content[8:12])[0] == masked_crc32c(content[:8])
        data = content[12 : 12 + length]
        assert struct.unpack("I", content[12 + length : 16 + length])[0] == masked_crc32c(data)
        events.append(Event.FromString(data))
        content = content[16 + length :]
    return events


def event_files(workdir):
    return sorted((workdir / "tensorboard").iterdir())


def scalars(workdir):
    """What TensorBoard shows: step and value by tag, after it has forgotten what a restart purged."""
    shown = {}
    for path in event_files(workdir):
        for event in read_events(path):
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                shown = {tag: [p for p in points if p[0] < event.step] for tag, points in shown.items()}
            for value in event.summary.value:
                shown.setdefault(value.tag, []).append((event.step, value.simple_value))
    return shown


def test_a_line_is_strict_json_and_is_on_disk_when_write_returns(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write(
        step=20,
        epoch=1,
        split="train",
        loss=np.float32(0.1),
        accuracy=float("nan"),
        rate=float("inf"),
        note="x",
    )
    line = metrics_bytes(tmp_path)
    writer.close()
    assert line.endswith(b"\n")
    assert json.loads(line, parse_constant=pytest.fail) == {
        "step": 20,
        "epoch": 1,
        "split": "train",
        "loss": float(np.float32(0.1)),
        "accuracy": None,
        "rate": None,
        "note": "x",
    }


def test_numbers_go_to_tensorboard_and_others_do_not(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(
            step=np.int32(5), epoch=1, split="test", loss=0.5, errors=45, accuracy=float("nan"), note="x"
        )
    assert scalars(tmp_path) == {"test/loss": [(5, 0.5)], "test/errors": [(5, 45.0)]}
    assert read_metrics(tmp_path)[0]["step"] == 5


def test_resume_cuts_lines_past_the_restored_step_in_both_files(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        write_steps(writer, [10, 20, 30, 40])
    with MetricsWriter(tmp_path, resume_step=20) as writer:
        assert writer.notice == "metrics.jsonl: cut 2 lines past step 20"
        write_steps(writer, [30])
    assert [record["step"] for record in read_metrics(tmp_path)] == [10, 20, 30]
    assert [step for step, _ in scalars(tmp_path)["train/loss"]] == [10, 20, 30]


def test_an_interrupted_run_leaves_the_bytes_of_an_uninterrupted_one(tmp_path):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    with MetricsWriter(tmp_path / "whole") as writer:
        write_steps(writer, range(1, 9))
    with MetricsWriter(tmp_path / "stopped") as writer:
        write_steps(writer, range(1, 7))
    with open(tmp_path / "stopped" / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 7, "epo')
    with MetricsWriter(tmp_path / "stopped", resume_step=4) as writer:
        write_steps(writer, range(5, 9))
    assert metrics_bytes(tmp_path / "stopped") == metrics_bytes(tmp_path / "whole")


def test_a_new_start_forgets_every_line(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(step=0, epoch=1, split="test", loss=2.3)
        write_steps(writer, [10])
    with MetricsWriter(tmp_path, resume_step=0) as writer:
        assert writer.notice == "metrics.jsonl: cut 2 lines past step 0"
        write_steps(writer, [10])
    assert [record["step"] for record in read_metrics(tmp_path)] == [10]
    assert scalars(tmp_path) == {"test/loss": [], "train/loss": [(10, pytest.approx(0.1))]}


@pytest.mark.parametrize(
    "torn", [b'{"step": 30, "lo', b"\x00\x00\x00", b'{"step": 30}\xff', b"3", b'{"step": NaN}']
)
def test_a_torn_last_line_is_removed(tmp_path, torn):
    with MetricsWriter(tmp_path) as writer:
        write_steps(writer, [10, 20])
    good = metrics_bytes(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(good + torn)
    assert [record["step"] for record in read_metrics(tmp_path)] == [10, 20]
    with MetricsWriter(tmp_path, resume_step=20) as writer:
        assert writer.notice == "metrics.jsonl: removed 1 broken line"
    assert metrics_bytes(tmp_path) == good


def test_a_whole_last_line_without_its_newline_is_completed(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        write_steps(writer, [10, 20])
    good = metrics_bytes(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(good[:-1])
    with MetricsWriter(tmp_path, resume_step=20) as writer:
        assert writer.notice == "metrics.jsonl: completed the last line"
    assert metrics_bytes(tmp_path) == good


def test_every_torn_length_of_a_file_is_mended(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        write_steps(writer, [10, 20])
    whole = metrics_bytes(tmp_path)
    lines = whole.splitlines(keepends=True)
    for length in range(len(whole) + 1):
        (tmp_path / "metrics.jsonl").write_bytes(whole[:length])
        metrics_log._mend_metrics(tmp_path / "metrics.jsonl", 20)
        kept = sum(length >= end - 1 for end in (len(lines[0]), len(whole)))
        assert metrics_bytes(tmp_path) == b"".join(lines[:kept])


def test_an_untouched_file_is_not_rewritten(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        write_steps(writer, [10])
    before = (tmp_path / "metrics.jsonl").stat().st_ino
    with MetricsWriter(tmp_path, resume_step=10) as writer:
        assert writer.notice == ""
    assert (tmp_path / "metrics.jsonl").stat().st_ino == before


def test_restarts_within_a_second_and_a_clock_set_back_keep_the_order(tmp_path, monkeypatch):
    for start, now in enumerate([2e9, 2e9, 1e9]):
        monkeypatch.setattr(metrics_log.time, "time", lambda now=now: now)
        with MetricsWriter(tmp_path, resume_step=start) as writer:
            write_steps(writer, [start + 1])
    assert len(event_files(tmp_path)) == 3
    assert [step for step, _ in scalars(tmp_path)["train/loss"]] == [1, 2, 3]


def test_close_twice_is_harmless_and_write_after_it_is_refused(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.close()
    writer.close()
    writer.sync()
    with pytest.raises(ValueError, match="closed"):
        write_steps(writer, [1])


def test_a_writer_that_is_not_enabled_touches_nothing(tmp_path):
    with MetricsWriter(tmp_path, enabled=False) as writer:
        write_steps(writer, [1])
        writer.sync()
    assert os.listdir(tmp_path) == []


def test_disk_full_is_one_line_and_leaves_whole_lines(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        writer = MetricsWriter(disk.folder)
        write_steps(writer, [10])
        writer.sync()
        good = metrics_bytes(disk.folder)
        disk.fill()
        with pytest.raises(RunError, match=r"metrics\.jsonl: No space left on device"), writer:
            for step in range(20, 200):
                writer.write(step=step, epoch=1, split="train", note="x" * 500)
        records = metrics_bytes(disk.folder)
        assert records.startswith(good)
        assert records.endswith(b"}\n")
        assert all(json.loads(line)["step"] >= 10 for line in records.splitlines())


def test_disk_full_under_tensorboard_is_an_error_and_not_a_hang(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        writer = MetricsWriter(disk.folder)
        disk.fill()
        writer._append = lambda line: None
        with pytest.raises(RunError, match="tensorboard: No space left on device"):
            write_steps(writer, range(1, 2000))
            writer.sync()
        with pytest.raises(RunError, match="tensorboard"):
            writer.close()
        writer.close()


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(RunError, match=r"metrics\.jsonl: Is a directory"):
        MetricsWriter(tmp_path)


def test_a_file_in_place_of_the_tensorboard_folder_is_one_line(tmp_path):
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(RunError, match="tensorboard: File exists"):
        MetricsWriter(tmp_path)


def test_writing_events_imports_neither_tensorflow_nor_torch_and_warns_of_nothing(tmp_path):
    program = (
        "import sys\n"
        "from mnist_jax.storage.metrics_log import MetricsWriter\n"
        "assert 'tensorboardX' not in sys.modules\n"
        "with MetricsWriter(sys.argv[1]) as writer:\n"
        "    writer.write(step=1, epoch=1, split='train', loss=0.5)\n"
        "print(sorted({'tensorflow', 'jax', 'keras'} & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")
