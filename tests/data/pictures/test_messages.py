"""What goes through the pipes to the process that decodes pictures, and what comes back."""

import io

import numpy as np
import pytest

from mnist_jax.data.pictures.messages import (
    pack_page,
    pack_steps,
    read_message,
    unpack_page,
    unpack_steps,
    write_message,
)
from mnist_jax.data.pictures.pages.find import Group, Page, Part
from mnist_jax.data.pictures.steps import Step


def random_image(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_messages_come_out_as_they_went_in_one_after_the_other():
    stream = io.BytesIO()
    write_message(stream, {"page": True}, b"one\ntwo")
    write_message(stream, {"error": "no 7 in “it”"}, b"")
    stream.seek(0)
    assert read_message(stream) == ({"page": True, "bytes": 7}, b"one\ntwo")
    assert read_message(stream) == ({"error": "no 7 in “it”", "bytes": 0}, b"")


@pytest.mark.parametrize("length", [0, 5, 20, 24])
def test_a_message_that_is_cut_off_is_not_taken_for_a_whole_one(length):
    stream = io.BytesIO()
    write_message(stream, {"page": True}, b"seven")
    whole = stream.getvalue()
    assert length < len(whole)
    with pytest.raises(EOFError):
        read_message(io.BytesIO(whole[:length]))


def test_steps_keep_their_pixels_and_what_follows_them():
    steps = [Step("gray", random_image(5, 7)), Step("cut", random_image(3, 4, 3))]
    described, pixels = pack_steps(steps)
    unpacked, rest = unpack_steps(described, pixels + b"rest")
    assert rest == b"rest" and [step.name for step in unpacked] == ["gray", "cut"]
    for step, expected in zip(unpacked, steps, strict=True):
        np.testing.assert_array_equal(step.image, expected.image)


def test_a_page_keeps_its_groups():
    parts = [
        Part(3, 20, (1, 2, 30, 40), random_image(28, 28, 1)),
        Part(21, 30, (1, 41, 30, 60), random_image(28, 28, 1)),
    ]
    page = Page([Group([0.0, 3.5, 0.0], parts), Group([], [])], random_image(50, 70), (100, 140))
    head, body = pack_page(page)
    unpacked = unpack_page(head, body)
    assert unpacked.shape == page.shape and unpacked.groups[0].cut_ink == [0.0, 3.5, 0.0]
    assert [len(group.parts) for group in unpacked.groups] == [2, 0]
    np.testing.assert_array_equal(unpacked.gray, page.gray)
    for part, expected in zip(unpacked.groups[0].parts, parts, strict=True):
        assert part[:3] == expected[:3]
        np.testing.assert_array_equal(part.image, expected.image)
