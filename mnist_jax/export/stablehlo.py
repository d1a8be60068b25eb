"""A network as a StableHLO file that ``jax.export`` reads on CPU, CUDA and TPU.

The file is what ``jax.export`` serializes, followed by one line of JSON with the metadata: JAX finds all it
reads by offsets from the first byte and never looks at what follows.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from mnist_jax.errors import RunError

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(
    predict: Callable[..., Any], image_shape: Sequence[int], metadata: Mapping[str, Any]
) -> bytes:
    """Exports ``uint8 [N, H, W, C] -> float32 [N, classes]`` for any N, and plain JSON values.

    Returns:
        the content of the file; ``jax.export.deserialize`` takes it as it is.

    Raises:
        RunError: where the package flatbuffers is missing, which ``jax.export`` needs to write and read.
    """
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8)
    exported = export.export(jax.jit(predict), platforms=PLATFORMS)(images)
    try:
        serialized = exported.serialize()
    except ImportError as error:
        raise RunError("jax.export needs the package flatbuffers: pip install flatbuffers") from error
    return bytes(serialized) + b"\n" + json.dumps(metadata).encode() + b"\n"


def from_stablehlo(content: bytes) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Reads the content of a file that `to_stablehlo` made, needing nothing but JAX.

    Returns:
        the function and the metadata.

    Raises:
        ValueError: for other content.
    """
    metadata = json.loads(content.rstrip(b"\n").rpartition(b"\n")[2])
    return export.deserialize(bytearray(content)).call, metadata
