"""Pages from templates."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any


def render(template: str, **values: Any) -> bytes:
    """Fills a template of ``report/templates``; class names that are not UTF-8 appear as escapes."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("mnist_jax.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(template).render(**values).encode("utf-8", "backslashreplace")


@contextlib.contextmanager
def own_backend() -> Iterator[None]:
    """Imports matplotlib without a notebook's ``MPLBACKEND``, which may not be installed here.

    Figures are drawn by no backend but that of their file.
    """
    variable = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if variable is not None:
            os.environ["MPLBACKEND"] = variable
