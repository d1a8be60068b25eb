"""Compiling ahead of time, and keeping what was compiled for the next start."""

import os
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from mnist_jax.runtime.environment import user_cache_dir

# Small programs add up: a run compiles about ten of them.
_MIN_COMPILE_SECONDS = 0.1
_TROUBLE = re.compile(r"Error (reading|writing) persistent compilation cache")


class CompiledFunction:
    """A jitted function that compiles once for each shape of its arguments, and how long that took."""

    def __init__(self, jitted: Any):
        """Wraps ``jitted``, made by ``jax.jit``; nothing is compiled yet."""
        self._jitted = jitted
        self._programs: dict[Any, Callable[..., Any]] = {}
        self.compile_seconds = 0.0  # tracing and compiling so far
        self.on_compile: Callable[[], None] = lambda: None  # called before each compilation

    def __call__(self, *args: Any, **static: Any) -> Any:
        """Runs the program for these arguments; ``static`` are the jitted function's static ones."""
        return self.compiled(*args, **static)(*args)

    def compiled(self, *args: Any, **static: Any) -> Callable[..., Any]:
        """Returns the program for arguments of these shapes, compiling it where that is new."""
        leaves, structure = jax.tree.flatten(args)
        shapes = tuple((jax.numpy.shape(x), jax.dtypes.result_type(x)) for x in leaves)
        key = (structure, shapes, tuple(sorted(static.items(), key=lambda item: item[0])))
        if key not in self._programs:
            self.on_compile()
            start = time.perf_counter()
            self._programs[key] = self._jitted.lower(*args, **static).compile()
            self.compile_seconds += time.perf_counter() - start
        return self._programs[key]


def enable_compile_cache(on_note: Callable[[str], None], directory: Path | None = None) -> None:
    """Turns JAX' persistent compilation cache on, for a main to call before anything is compiled.

    ``JAX_COMPILATION_CACHE_DIR`` and ``JAX_ENABLE_COMPILATION_CACHE`` are respected. A cache that cannot be
    used, or an entry that is damaged, is skipped with one note, and the program is compiled as if it were
    not there.

    Args:
        on_note: receives one line the first time something is wrong with the cache.
        directory: where programs are kept; below the user's cache folder by default.
    """
    set_by_user = jax.config.values.get("jax_compilation_cache_dir")
    folder = Path(set_by_user or directory or user_cache_dir() / "compiled").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        on_note(f"compiled programs are not kept: {folder}: {error.strerror}")
        jax.config.update("jax_enable_compilation_cache", False)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SECONDS)
    _note_trouble_once(folder, on_note)


def _note_trouble_once(folder: Path, on_note: Callable[[str], None]) -> None:
    """JAX warns of each damaged entry with lines of its own code; one line is enough."""
    show = warnings.showwarning
    told: list[bool] = []

    def showwarning(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        if not _TROUBLE.match(str(message)):
            show(message, category, *args, **kwargs)
        elif not told:
            told.append(True)
            on_note(
                f"compiled programs in {folder} are damaged and compiled again; delete the folder to "
                "stop this note"
            )

    warnings.showwarning = showwarning
