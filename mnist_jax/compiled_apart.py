"""Functions that XLA compiles on their own, not fused into what calls them (floor 0).

XLA:CPU puts a calculation into every loop that reads its result, and does it anew in each. Where it is long,
or is read along other axes than it was written, that costs more than the memory it saves, and loops with many
branches are not vectorised. ``lax.optimization_barrier`` holds back simplifications only: XLA takes barriers
away before it fuses. A call that must not be inlined keeps its results.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
from jax.experimental.xla_metadata import set_xla_metadata

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def compiled_apart(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compiles a function as a call of its own: its results are written to memory, once.

    Only the time changes, and rounding. Positional arguments are arrays, or lists of them; arguments by
    name are static.
    """

    @functools.cache
    def compiled(names: tuple[str, ...]) -> Callable[..., Result]:
        return jax.jit(function, static_argnames=names)

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with set_xla_metadata(inlineable="false"):
            return compiled(tuple(kwargs))(*args, **kwargs)

    return call
