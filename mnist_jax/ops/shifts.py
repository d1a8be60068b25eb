"""Windows over images as shifted images: what XLA:CPU vectorizes where it would gather pixel by pixel."""

import itertools
from collections.abc import Iterator

from jax import lax
from jaxtyping import Array

Sizes = tuple[int, ...]


def shifts(x: Array, window: Sizes, strides: Sizes, dilation: Sizes) -> Iterator[Array]:
    """Yields for each place in a window what all windows have there."""
    counts = [
        (size - (length - 1) * gap - 1) // step + 1
        for size, length, gap, step in zip(x.shape, window, dilation, strides, strict=True)
    ]
    for place in itertools.product(*map(range, window)):
        start = [index * gap for index, gap in zip(place, dilation, strict=True)]
        end = [s + (n - 1) * step + 1 for s, n, step in zip(start, counts, strides, strict=True)]
        yield lax.slice(x, start, end, strides)
