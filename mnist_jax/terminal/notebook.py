"""The output of a run in a notebook: lines as anywhere, and a bar that is redrawn in its place."""

import io
import sys
from collections.abc import Callable
from typing import Any

from mnist_jax.terminal.console import RunConsole

_WIDTH = 100
_FORMAT = '<pre style="white-space: pre; margin: 0">{code}</pre>'


def make_console(progress: bool = True) -> RunConsole:
    """Returns what shows a run inside a program: silent, for a notebook, or as in a command."""
    if progress and _in_notebook():
        return NotebookConsole()
    return RunConsole(enabled=progress)


def _in_notebook() -> bool:
    # Not imported: who runs in a notebook has it loaded.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


class NotebookConsole(RunConsole):
    """Prints lines to the output of the cell, with a bar that is one output of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.live = True

    @property
    def width(self) -> int:
        """Columns to fill."""
        return _WIDTH

    def open_live(self, render: Callable[[], Any]) -> "NotebookBar":
        """Shows what ``render`` returns until it is stopped."""
        return NotebookBar(render)


class NotebookBar:
    """A renderable of rich as an output of a cell, drawn again at each refresh."""

    def __init__(self, render: Callable[[], Any]):
        from IPython.display import HTML, display

        self._render, self._html = render, HTML
        self._handle = display(HTML(self._draw()), display_id=True)

    def refresh(self) -> None:
        """Draws it again."""
        self._handle.update(self._html(self._draw()))

    def stop(self) -> None:
        """Takes it away."""
        self._handle.update(self._html(""))

    def _draw(self) -> str:
        from rich.console import Console

        console = Console(
            file=io.StringIO(),
            record=True,
            width=_WIDTH,
            force_jupyter=False,
            force_terminal=True,
            color_system="truecolor",
        )
        console.print(self._render())
        return console.export_html(inline_styles=True, code_format=_FORMAT)
