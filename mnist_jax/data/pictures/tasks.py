"""What may be done with a picture file from outside, in this process or in one of its own."""

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from mnist_jax.data.pictures.decode import background_of, highest_tone, read_facts
from mnist_jax.data.pictures.preparation import Preparation
from mnist_jax.data.pictures.steps import Step
from mnist_jax.errors import DataError

if TYPE_CHECKING:
    from mnist_jax.data.pictures.decode import Source
    from mnist_jax.data.pictures.pages.find import Page

# What may be asked of a picture file before it is known how all are prepared.
QUESTIONS: dict[str, Callable[["Source"], Any]] = {
    function.__name__: function for function in (read_facts, highest_tone, background_of)
}


def answer_question(question: str, source: "Source") -> Any:
    """Returns what one of `QUESTIONS` is answered of a picture file.

    Raises:
        DataError: as `decode.load_image`.
    """
    with _without_a_name():
        return QUESTIONS[question](source)


def load_picture(
    content: bytes, preparation: Preparation, steps: list[Step] | None
) -> UInt8[np.ndarray, "height width channels"]:
    """Decodes the bytes of a picture file and prepares it, as `Preparation.load`."""
    with _without_a_name():
        return preparation.load(io.BytesIO(content), steps)


def find_on_page(content: bytes, steps: list[Step] | None) -> "Page":
    """Decodes the bytes of a picture file and finds the digits on it, as `load_page`."""
    from mnist_jax.data.pictures.pages.find import load_page

    with _without_a_name():
        return load_page(io.BytesIO(content), steps)


@contextlib.contextmanager
def _without_a_name() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(str(error).removeprefix("the picture: ")) from error.__cause__
    except ValueError as error:
        # Files of floating-point pixels may hold numbers that are no tones.
        raise DataError(str(error)) from error
