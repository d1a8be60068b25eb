"""Pictures from outside are decoded within limits, in a process that may be ended."""

import io
import os
import struct
import threading

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data.pictures import worker as worker_module
from mnist_jax.data.pictures.decode import background_of, highest_tone, read_facts
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.worker import PictureWorker, PictureWorkers
from mnist_jax.errors import DataError
from tests.data.pictures.conftest import STROKES, draw, saved
from tests.data.pictures.harmful import large, many_comments, many_scans, much_exif

MNIST = Preparation.of_data_set("mnist", (28, 28, 1))
SEVEN = saved(draw(STROKES["7"])).getvalue()


def test_it_prepares_as_this_process_does():
    content = SEVEN
    resized = Preparation("resized", (12, 14, 3))
    with PictureWorker(is_for_all=True) as worker:
        for preparation in (MNIST, resized):
            expected = preparation.load(io.BytesIO(SEVEN))
            np.testing.assert_array_equal(worker.prepare(content, preparation), expected)
        with pytest.raises(DataError, match="^empty, or not a picture"):
            worker.prepare(b"seven", MNIST)


def test_a_picture_that_takes_too_long_is_refused_and_the_next_is_answered():
    with PictureWorker(cpu_seconds=1, is_for_all=True) as worker:
        with pytest.raises(DataError, match="^takes more than the 1 seconds accepted to decode$"):
            worker.prepare(many_scans(), MNIST)
        assert worker.prepare(SEVEN, MNIST).shape == (28, 28, 1)


def test_a_picture_that_takes_too_much_memory_is_refused_and_the_next_is_answered():
    with PictureWorker(memory_bytes=2**26, is_for_all=True) as worker:
        with pytest.raises(DataError, match="^takes more than the memory accepted to decode$"):
            worker.prepare(large(), Preparation("resized", (28, 28, 3)))
        assert worker.prepare(SEVEN, MNIST).shape == (28, 28, 1)


def test_what_takes_long_in_its_header_alone_is_read_apart(tmp_path):
    (tmp_path / "a.png").write_bytes(much_exif())
    worker = PictureWorker(cpu_seconds=1)
    for ask in (
        lambda: worker.prepare(many_comments(), MNIST),
        # The size alone is asked of a training picture at first.
        lambda: worker.look("read_facts", tmp_path / "a.png"),
    ):
        with pytest.raises(DataError, match="^takes more than the 1 seconds accepted to decode$"):
            ask()
    worker.close()


def test_it_tells_of_a_file_what_this_process_would(tmp_path):
    for mode, tone in (("RGBA", (10, 20, 30, 40)), ("I;16", 4000)):
        Image.new(mode, (300, 400), tone).save(tmp_path / "a.png")
        question, ask = ("background_of", background_of) if mode == "RGBA" else ("highest_tone", highest_tone)
        path, content = tmp_path / "a.png", (tmp_path / "a.png").read_bytes()
        with PictureWorker(is_for_all=True) as apart:
            for worker in (apart, PictureWorker()):
                for source in (path, content):
                    assert worker.look("read_facts", source) == read_facts(path)
                    assert worker.look(question, source) == ask(path)
        assert apart._process is None and worker._process is None
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("pipe", "not a regular file"), ("nothing", "No such file")):
        with pytest.raises(DataError, match=rf"^cannot be read \(.*{reason}"):
            worker.look("read_facts", tmp_path / name)


def test_closing_does_not_wait_for_what_is_decoded():
    workers = PictureWorkers(1)
    workers.start()
    told = []

    def prepare():
        try:
            workers.prepare(many_scans(), MNIST)
        except DataError as error:
            told.append(str(error))

    thread = threading.Thread(target=prepare)
    thread.start()
    workers.close()
    thread.join()
    assert told and workers._workers[0]._process is None


def test_a_process_is_started_only_for_what_may_take_long():
    worker = PictureWorker(cpu_seconds=1)
    worker.prepare(SEVEN, MNIST)
    with pytest.raises(DataError, match="^empty, or not a picture"):
        worker.prepare(b"seven", MNIST)
    assert worker._process is None
    with pytest.raises(DataError, match="^takes more than the 1 seconds"):
        worker.prepare(many_scans(side=1000, scans=100_000), MNIST)
    worker.close()


def test_an_avif_that_is_larger_inside_than_it_says_is_decoded_apart():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(buffer, "AVIF")
    content = buffer.getvalue()
    size = b"ispe" + struct.pack(">III", 0, 64, 64)
    lying = content.replace(size, b"ispe" + struct.pack(">III", 0, 8, 8))
    assert lying != content and read_facts(io.BytesIO(lying))[:2] == (8, 8)
    worker = PictureWorker()
    with pytest.raises(DataError):
        worker.prepare(lying, MNIST)
    assert worker._process is not None
    worker.close()


def test_the_working_folder_holds_no_modules_of_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PIL", "numpy", "mnist_jax"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run from a folder of pictures')")
    with PictureWorker(is_for_all=True) as worker:
        assert worker.prepare(SEVEN, MNIST).shape == (28, 28, 1)


def test_a_process_is_started_early_for_what_needs_it(tmp_path, monkeypatch):
    files = {"small.png": SEVEN, "large.png": large(), "no.png": b"seven"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")

    def is_started(*names):
        with PictureWorker() as worker:
            worker.close()
            monkeypatch.setattr(worker_module, "shared_worker", lambda: worker)
            worker_module.start_early([str(tmp_path / name) for name in names])
            return worker._process is not None

    assert not is_started("small.png", "no.png", "missing.png", "pipe", ".", "\0")
    assert is_started("small.png", "missing.png", "large.png")
    assert not is_started(*10 * ["small.png"], "large.png")


def test_pages_are_within_the_limits_too():
    page = saved(draw(STROKES["7"], side=300, pen=25)).getvalue()
    with PictureWorker(memory_bytes=2**26, is_for_all=True) as worker:
        assert worker.prepare(SEVEN, MNIST).shape == (28, 28, 1)
        assert len(worker.find_digits(page).groups) == 1
        with pytest.raises(DataError, match="^takes more than the memory accepted to decode$"):
            worker.find_digits(large())
        assert len(worker.find_digits(page).groups) == 1
