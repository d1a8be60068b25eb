"""Where pictures that are made of pictures are written (no JAX)."""

import os
from collections.abc import Sequence
from pathlib import Path

from mnist_jax.data.pictures.read import Picture
from mnist_jax.errors import ConfigError

# In bytes; with what is added a name has at most 255.
_LONGEST_STEM = 200


def name_outputs(path: str, pictures: Sequence[Picture], kind: str) -> list[Path]:
    """Names a PNG file for each picture: ``NAME.KIND.png`` in a folder, or this file for the only one.

    No two have the same name, whatever the case of its letters, and none is one of the pictures.

    Args:
        path: a folder; a file where it ends in ``.png``.
        pictures: those to be written of.
        kind: what is written, which is the name of the flag too.

    Raises:
        ConfigError: there are several pictures for one file.
    """
    if path.lower().endswith(".png") and not os.path.isdir(path):
        if len(pictures) > 1:
            raise ConfigError([f"{kind}: {path} is one file for {len(pictures)} pictures; expected a folder"])
        return [Path(path)] * len(pictures)
    folder = Path(path)
    inputs = {os.path.realpath(picture.file) for picture in pictures}
    taken: set[str] = set()
    outputs = []
    for picture in pictures:
        stem = _stem(picture)
        name, number = f"{stem}.{kind}.png", 1
        while name.casefold() in taken or os.path.realpath(folder / name) in inputs:
            number += 1
            name = f"{stem}_{number}.{kind}.png"
        taken.add(name.casefold())
        outputs.append(folder / name)
    return outputs


def _stem(picture: Picture) -> str:
    stem = "picture" if picture.file == "-" else os.path.splitext(os.path.basename(picture.file))[0]
    short = os.fsdecode(os.fsencode(stem)[:_LONGEST_STEM])
    return short if picture.index is None else f"{short}_{picture.index}"
