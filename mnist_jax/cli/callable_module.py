"""A command's module that is also the function of its name: ``mnist_jax.train(...)``.

Importing a submodule binds its name in the package, whatever the package says of that name. So the module
itself is what is called, and ``import mnist_jax.train`` and ``from mnist_jax import train`` give the same
thing in any order.
"""

import importlib
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any


def make_callable(name: str, function: str) -> None:
    """Makes a module callable as a function is, with that function's signature and docstring.

    Args:
        name: of the module, ``__name__``.
        function: ``package.module:function``; imported when it is first asked for, for it needs JAX, and the
            help of a command must not wait for that.
    """

    def find() -> Callable[..., Any]:
        module, _, attribute = function.partition(":")
        return getattr(importlib.import_module(module), attribute)

    class CallableModule(types.ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return find()(*args, **kwargs)

        @property
        def __signature__(self) -> inspect.Signature:
            return inspect.signature(find())

        @property
        def __doc__(self) -> str | None:  # type: ignore[override]
            return find().__doc__

    sys.modules[name].__class__ = CallableModule
