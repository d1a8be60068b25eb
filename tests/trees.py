"""Compares pytrees leaf by leaf, naming the leaf that differs."""

from typing import Any

import jax
import numpy as np


def _pairs(actual: Any, expected: Any) -> list[tuple[str, np.ndarray, np.ndarray]]:
    # Flattened by hand: jax.tree.map would build a checked dataclass out of what the comparison returns.
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    leaves, _ = jax.tree_util.tree_flatten_with_path(actual)
    return [
        (jax.tree_util.keystr(path), np.asarray(a), np.asarray(b))
        for (path, a), b in zip(leaves, jax.tree.leaves(expected), strict=True)
    ]


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Asserts equal structures, shapes, dtypes and bytes."""
    for path, a, b in _pairs(actual, expected):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), path
        assert a.tobytes() == b.tobytes(), f"{path} differs by up to {np.abs(a - b).max()}"


def same_bits(actual: Any, expected: Any) -> bool:
    """Whether two trees of the same structure have the same bytes in every leaf."""
    return all(a.tobytes() == b.tobytes() for _, a, b in _pairs(actual, expected))


def assert_close(actual: Any, expected: Any, *, rtol: float = 1e-5, atol: float = 0.0) -> None:
    """Asserts equal structures and numbers that agree up to rounding."""
    for path, a, b in _pairs(actual, expected):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=path)
