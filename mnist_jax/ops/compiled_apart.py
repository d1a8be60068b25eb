"""Functions that XLA compiles on their own, not fused into what calls them.

XLA:CPU puts a calculation into every loop that reads its result, and does it anew in each. Where it is long,
or is read along other axes than it was written, that costs more than the memory it saves, and loops with many
branches are not vectorized. ``lax.optimization_barrier`` holds back simplifications only: XLA takes barriers
away before it fuses. A call that must not be inlined keeps its results.
"""

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

    Only the time changes, and rounding.

    Args:
        function: of arrays, or lists of them.
        static_argnames: arguments that are no arrays, as in ``jax.jit``.
    """
    compiled = jax.jit(function, static_argnames=static_argnames)

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with set_xla_metadata(inlineable="false"):
            return compiled(*args, **kwargs)

    return call
