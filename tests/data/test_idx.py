import gzip
import itertools
import re
import tracemalloc
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnist_jax.data.files import read_bytes
from mnist_jax.data.idx import parse_idx
from mnist_jax.errors import DataError

DTYPES = st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]).map(np.dtype)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))
IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
SHARED_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@SHARED_FIXTURE
@given(array=ARRAYS, gz=st.booleans())
def test_any_array_comes_back_as_it_was(encode, array, gz):
    blob = encode(array)
    parsed = parse_idx(gzip.compress(blob) if gz else blob, "file")
    assert parsed.dtype == array.dtype and parsed.shape == array.shape
    np.testing.assert_array_equal(parsed, array)


@SHARED_FIXTURE
@given(array=ARRAYS, position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_in_gzip_never_gives_other_values_silently(encode, array, position, flip):
    blob = bytearray(gzip.compress(encode(array)))
    blob[int(position * len(blob))] ^= flip
    try:
        parsed = parse_idx(bytes(blob), "file")
    except DataError as error:
        assert str(error).startswith("file: ") and "\n" not in str(error)
    else:
        # Bytes of the gzip header such as the time stamp carry no data.
        np.testing.assert_array_equal(parsed, array)


@SHARED_FIXTURE
@given(array=ARRAYS, fraction=st.floats(0, 1, exclude_max=True), gz=st.booleans())
def test_every_truncation_is_an_error(encode, array, fraction, gz):
    blob = gzip.compress(encode(array)) if gz else encode(array)
    with pytest.raises(DataError, match="file: "):
        parse_idx(blob[: int(fraction * len(blob))], "file")


@given(blob=st.binary(max_size=64))
def test_any_bytes_give_an_array_or_a_data_error(blob):
    try:
        assert isinstance(parse_idx(blob, "file"), np.ndarray)
    except DataError as error:
        assert "expected" in str(error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda blob: b"\0\0\x08\x04" + blob[4:], "the IDX header|promises"),
        (lambda blob: b"\x01" + blob[1:], "wrong IDX magic 01 00 08 03; expected 00 00 08 03"),
        (lambda blob: b"\0\0\x07\x03" + blob[4:], "wrong IDX magic 00 00 07 03"),
        (lambda blob: b"\x03\x08\0\0" + blob[4:], "this looks little-endian"),
        (lambda blob: b"<!DOCTYPE html>", "this looks like a web page"),
        (lambda blob: b"PK\x03\x04" + blob, "this looks like a zip archive"),
        (lambda blob: b"", "the file is empty"),
        (lambda blob: blob[:2], "wrong IDX magic 00 00;"),
        (lambda blob: blob[:9], "the IDX header is cut short"),
        (lambda blob: blob[:-1], "promises 3 x 4 x 5 values, 60 bytes, but only 59 follow"),
        (lambda blob: blob + b"\0", "promises 3 x 4 x 5 values, 60 bytes, but more follow"),
        (lambda blob: blob[:4] + b"\0\0\0\0" + blob[8:], "an empty split: the header promises 0 x 4 x 5"),
        (lambda blob: gzip.compress(blob)[:-9], "the gzip stream is cut short"),
        (lambda blob: gzip.compress(blob)[:-8] + b"\0" * 8, "damaged .CRC check failed"),
        (lambda blob: gzip.compress(blob) + b"rubbish", "damaged .Not a gzipped file"),
        (
            lambda blob: gzip.compress(blob)[:10] + b"\xff" * 50,
            "gzip stream is damaged",
        ),
    ],
)
def test_a_fault_is_named(encode, change, message):
    with pytest.raises(DataError, match=message) as raised:
        parse_idx(change(encode(IMAGES)), "some/file")
    assert str(raised.value).startswith("some/file: ")
    assert "expected" in str(raised.value)


@pytest.mark.parametrize("gz", [False, True])
def test_a_header_that_promises_terabytes_allocates_nothing_like_it(encode, gz):
    blob = b"\0\0\x08\x03" + b"\xff\xff\xff\xff" * 3 + b"\0" * 100
    tracemalloc.start()
    with pytest.raises(DataError, match="but only 100 follow"):
        parse_idx(gzip.compress(blob) if gz else blob, "file")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 100e6


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("size", [5, 900])
def test_gzip_of_any_make_is_unpacked(encode, members, size):
    """Blank images, which are packed to a thousandth, and files of several members, which gzip allows."""
    images = np.zeros((3, size, size), np.uint8)
    images[1, 2, 3] = 7
    blob = encode(images)
    ends = np.linspace(0, len(blob), members + 1).astype(int)
    packed = b"".join(gzip.compress(blob[start:end]) for start, end in itertools.pairwise(ends))
    np.testing.assert_array_equal(parse_idx(packed, "file"), images)


def test_a_parsed_array_cannot_be_changed_by_accident(encode):
    with pytest.raises(ValueError, match="read-only"):
        parse_idx(encode(IMAGES), "file")[0] = 1


@pytest.mark.parametrize(("name", "reason"), [("missing", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name, reason):
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / name))}: cannot be read: {reason}"):
        read_bytes(tmp_path / name)
