"""Jitted functions compiled ahead of time, with the seconds that took kept apart from the work."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


class CompiledFunction:
    """A jitted function that compiles once for each shape of its arguments and adds up how long that takes.

    Attributes:
        compile_seconds: tracing and compiling so far.
        on_compile: called before each compilation.
    """

    def __init__(self, jitted: Any, compiler_options: Mapping[str, Any] | None = None):
        """Wraps ``jitted``, made by ``jax.jit``; nothing is compiled yet."""
        self._jitted = jitted
        self._compiler_options = dict(compiler_options or {})
        self._programs: dict[Any, Callable[..., Any]] = {}
        self.compile_seconds = 0.0
        self.on_compile: Callable[[], None] = lambda: None

    @property
    def num_programs(self) -> int:
        """How many programs were compiled."""
        return len(self._programs)

    def __call__(self, *args: Any, **static: Any) -> Any:
        """Runs the program for these arguments; ``static`` are the jitted function's static ones."""
        return self.compiled(*args, **static)(*args)

    def compiled(self, *args: Any, **static: Any) -> Callable[..., Any]:
        """Gives the program for arguments of these shapes, compiling it where that is new."""
        leaves, structure = jax.tree.flatten(args)
        shapes = tuple((jax.numpy.shape(x), jax.dtypes.result_type(x)) for x in leaves)
        key = (structure, shapes, tuple(sorted(static.items(), key=lambda item: item[0])))
        if key not in self._programs:
            self.on_compile()
            start = time.perf_counter()
            lowered = self._jitted.lower(*args, **static)
            self._programs[key] = lowered.compile(compiler_options=self._compiler_options or None)
            self.compile_seconds += time.perf_counter() - start
        return self._programs[key]
