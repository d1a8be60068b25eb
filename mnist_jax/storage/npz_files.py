"""Reading NumPy archives that may be damaged, or made by somebody else."""

import os
from collections.abc import Sequence

import numpy as np

from mnist_jax.runtime.regular_file import check_archive, open_regular


def load_arrays(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns arrays of an ``.npz`` file, never unpickling anything.

    Raises:
        OSError: it cannot be opened, or is no regular file.
        ValueError: it lacks one of them, or is damaged in any way.
    """
    with open_regular(path) as opened:
        try:
            with np.load(opened, allow_pickle=False) as file:
                check_archive(file.zip, names)
                arrays = {name: file[name] for name in names}
        except Exception as error:
            # Encrypted, nested, damaged: zipfile, zlib and NumPy raise whatever that brings about.
            raise ValueError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from error
    # Of members that are no arrays NumPy returns the bytes.
    odd = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if odd:
        raise ValueError(f"{path}: {', '.join(odd)} is no array")
    return arrays
