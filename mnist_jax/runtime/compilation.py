"""Compiling ahead of time, and keeping what was compiled for the next start."""

import os
import re
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from mnist_jax.ops.native import library
from mnist_jax.runtime.environment import user_cache_dir
from mnist_jax.runtime.heap import give_back

# Small programs add up: a run compiles about ten of them.
_MIN_COMPILE_SECONDS = 0.1
# What XLA puts into command buffers, which are CUDA graphs, by itself. An option names all there are to be.
_IN_GRAPHS = "CONDITIONAL,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,DYNAMIC_SLICE_FUSION,FUSION"
_MORE_IN_GRAPHS = {"step": "CONVOLUTION", "epoch": "CONVOLUTION,WHILE"}
_TROUBLE = re.compile(r"Error (reading|writing) persistent compilation cache")


def loop_options(gpu_graph: str, platform: str = "gpu") -> dict[str, str | bool]:
    """Returns the compiler's options for a loop over training steps.

    On a GPU, one launch of the host per step or for all of them. On a CPU, fewer copies of what a step hands
    to the next: XLA looks at the order in which the old values are read. They change no result.

    Args:
        gpu_graph: ``auto`` (XLA's own choice, which leaves convolutions out), ``step`` or ``epoch``.
        platform: ``cpu``, ``gpu`` or ``tpu``.

    Returns:
        for `CompiledFunction`; nothing where ``XLA_FLAGS`` says it already.
    """
    options: dict[str, str | bool] = {}
    if platform == "cpu":
        options = {"xla_cpu_copy_insertion_use_region_analysis": True}
    elif platform == "gpu" and gpu_graph != "auto":
        options = {"xla_gpu_enable_command_buffer": f"{_IN_GRAPHS},{_MORE_IN_GRAPHS[gpu_graph]}"}
    return {flag: value for flag, value in options.items() if flag not in os.environ.get("XLA_FLAGS", "")}


class CompiledFunction:
    """A jitted function that compiles once for each shape of its arguments, and how long that took."""

    def __init__(self, jitted: Any, options: Mapping[str, str | bool] | None = None):
        """Wraps ``jitted``, made by ``jax.jit``; nothing is compiled yet.

        ``options`` are the compiler's; a compiler that refuses one goes without all of them.
        """
        self._jitted = jitted
        self._options = dict(options or {})
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
            self._programs[key] = self._compile(self._jitted.lower(*args, **static))
            give_back()
            self.compile_seconds += time.perf_counter() - start
        return self._programs[key]

    def _compile(self, lowered: Any) -> Callable[..., Any]:
        try:
            return lowered.compile(compiler_options=self._options)
        except jax.errors.JaxRuntimeError as error:
            if not self._options or "INVALID_ARGUMENT" not in str(error):
                raise
            return lowered.compile()


def enable_compile_cache(on_note: Callable[[str], None], directory: Path | None = None) -> None:
    """Turns JAX' persistent compilation cache on, for a main to call before anything is compiled.

    ``JAX_COMPILATION_CACHE_DIR`` and ``JAX_ENABLE_COMPILATION_CACHE`` are respected. A cache that cannot be
    used, or an entry that is damaged, is skipped with one note, and the program is compiled as if it were
    not there. The functions in C++ are kept there too.

    Args:
        on_note: receives one line the first time something is wrong with the cache, or with the compiler.
        directory: where programs are kept; below the user's cache folder by default.
    """
    library.on_trouble(on_note)
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
