"""Results that XLA:CPU is to write to memory once, not to compute again for each use."""

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import jax
from jax.experimental.xla_metadata import set_xla_metadata

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def compiled_apart(
    function: Callable[Parameters, Result], static_argnames: str | Sequence[str] = ()
) -> Callable[Parameters, Result]:
    """Compiles a function as a call of its own: its results are written to memory, once.

    XLA:CPU puts a calculation into every loop that reads its result, and does it again in each. Where it is
    long, or is read along other axes than it was written, that costs more than the memory it saves.
    ``lax.optimization_barrier`` does not help: XLA removes barriers before it fuses. A call that must not be
    inlined keeps its results. Only the time changes, and rounding.
    """
    compiled = jax.jit(function, static_argnames=static_argnames)

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with set_xla_metadata(inlineable="false"):
            return compiled(*args, **kwargs)

    return call
