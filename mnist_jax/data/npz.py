"""Arrays from an ``.npz`` archive, whatever state the file is in."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from mnist_jax.errors import DataError


def read_npz(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reads arrays from an ``.npz`` file, never unpickling anything.

    Args:
        path: the file.
        keys: the arrays that must be in it.

    Raises:
        DataError: if the file is damaged, lacks a key, or holds pickled objects.
    """
    try:
        # Opened here, because numpy leaves its own file open when the archive is damaged.
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: holds one array; expected an .npz archive with {', '.join(keys)}")
            missing = [key for key in keys if key not in archive]
            if missing:
                raise DataError(f"{path}: lacks {', '.join(missing)}; expected {', '.join(keys)}")
            return {key: archive[key] for key in keys}
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
    raise DataError(f"{path}: cannot be read: {reason}; expected an .npz archive with {', '.join(keys)}")
