"""The SHA-256 of a training state, array by array."""

import hashlib
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import PyTree


def array_digests(tree: PyTree) -> dict[str, str]:
    """Returns the SHA-256 of each array by its path, such as ``params/conv0/kernel``.

    Each is over the dtype, the shape and the bytes, so equal digests mean equal bits.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): _digest(np.asarray(leaf))
        for path, leaf in leaves
    }


def join_digests(digests: Mapping[str, str]) -> str:
    """Returns one SHA-256 for those of all arrays."""
    text = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.name} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
