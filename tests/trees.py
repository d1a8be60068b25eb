"""Compares pytrees leaf by leaf, naming the leaf that differs; nests the variables of golden files."""

from collections.abc import Mapping
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


def nest_as_blocks(flat: Mapping[str, Any]) -> dict[str, dict]:
    """Nests variables named layer by layer as the network's blocks hold them.

    ``conv1/kernel`` and ``bn1/scale`` become ``params/conv1/kernel`` and ``params/conv1/bn/scale``; the last
    BatchNorm belongs to ``dense``. ``mean`` and ``var`` go to ``batch_stats``.
    """
    last = max(path.split("/")[0] for path in flat if path.startswith("bn"))
    nested: dict[str, dict] = {"params": {}, "batch_stats": {}}
    for path, array in flat.items():
        layer, name = path.split("/")
        node = nested["batch_stats" if name in ("mean", "var") else "params"]
        if layer.startswith("bn"):
            block = "dense" if layer == last else layer.replace("bn", "conv")
            node = node.setdefault(block, {}).setdefault("bn", {})
        else:
            node = node.setdefault(layer, {})
        node[name] = array
    return nested
