"""The progress of training: a live bar or a line now and then, and one row per epoch."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.format import format_duration, format_percent

if TYPE_CHECKING:
    from rich.table import Table

# Five redraws a second look alive; more would only take the host's time from training.
_REDRAW_SECONDS = 0.2
_PLAIN_LINE_SECONDS = 30.0
_BAR_WIDTHS = (6, 30)
_PARTS_SHOWN = ("epoch", "step", "phase", "metrics", "rate", "left")


class Progress:
    """Shows where training is; a context manager around the loop.

    ``update`` is cheap enough to call after every chunk of steps. All rates come from the caller, so that
    compilation and pauses do not distort the time left.
    """

    def __init__(
        self,
        console: RunConsole,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        batch_size: int,
        first_step: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts at ``first_step``, the step that was restored, of ``num_epochs * steps_per_epoch``."""
        self._console = console
        self._num_epochs = num_epochs
        self._steps_per_epoch = steps_per_epoch
        self._num_steps = num_epochs * steps_per_epoch
        self._batch_size = batch_size
        self._step = first_step
        self._clock = clock
        self._last_shown = clock()
        self._phase = ""
        self._metrics = ""
        self._rate = ""
        self._seconds_per_image: float | None = None
        self._eval_seconds = 0.0
        self._header = ""
        self._live: Any = None

    def __enter__(self) -> "Progress":
        if self._console.enabled and self._console.live:
            self._live = self._console.open_live(self._render)
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def phase(self, text: str) -> None:
        """Shows what happens instead of training, such as ``"compiling"``, until the next update."""
        self._phase = text
        self._redraw()

    def update(self, step: int, *, loss: float, accuracy: float, images_per_second: float) -> None:
        """Shows that ``step`` steps of the run are done; redrawn at most five times a second.

        Mean loss, accuracy (a fraction) and images a second are of the latest steps, without compilation.
        """
        self._step = step
        self._phase = ""
        if images_per_second > 0:
            latest = 1 / images_per_second
            before = latest if self._seconds_per_image is None else self._seconds_per_image
            self._seconds_per_image = before + 0.2 * (latest - before)
        if not self._console.enabled:
            return
        now = self._clock()
        if now - self._last_shown < (_REDRAW_SECONDS if self._console.live else _PLAIN_LINE_SECONDS):
            return
        self._last_shown = now
        self._metrics = f"loss {loss:.4f}  acc {format_percent(accuracy)}"
        self._rate = f"{images_per_second:,.0f} img/s"
        if self._live is not None:
            self._redraw()
        elif not self._console.live:
            parts = [
                self._epoch_text(),
                f"step {self._step_text()}",
                self._metrics,
                self._rate,
                self._time_left(),
            ]
            self._console.print(("  " + "  ".join(part for part in parts if part), "dim"))

    def epoch_done(
        self,
        epoch: int,
        *,
        train_loss: float,
        train_accuracy: float,
        eval_split: str,
        eval_loss: float,
        eval_accuracy: float,
        seconds: float,
        images_per_second: float,
        eval_seconds: float = 0.0,
    ) -> None:
        """Prints the row of an epoch (from 1), under a head that names the split it was evaluated on.

        Losses are means, accuracies fractions; ``seconds`` and ``images_per_second`` are those of training.
        The time left counts ``eval_seconds`` for each epoch to come.
        """
        self._eval_seconds = eval_seconds
        short = "val" if eval_split == "validation" else eval_split
        # Name, text, width, and the narrowest terminal that shows the column.
        columns = [
            ("epoch", f"{epoch}/{self._num_epochs}", 7, 0),
            ("train loss", f"{train_loss:.4f}", 12, 60),
            ("train acc", format_percent(train_accuracy), 11, 40),
            (f"{short} loss", f"{eval_loss:.4f}", 12, 60),
            (f"{short} acc", format_percent(eval_accuracy), 11, 0),
            ("time", format_duration(seconds), 13, 50),
            ("images/s", f"{images_per_second:,.0f}", 10, 78),
        ]
        shown = [column for column in columns if self._console.enabled and self._console.width >= column[3]]
        header = "".join(f"{name:>{width}}" for name, _, width, _ in shown)
        if header != self._header:
            self._console.print((header, "bold"))
            self._header = header
        self._console.print("".join(f"{text:>{width}}" for _, text, width, _ in shown))

    def seconds_left(self) -> float | None:
        """Estimates the seconds that are left; ``None`` before the first update."""
        if self._seconds_per_image is None:
            return None
        epochs_done = self._step // self._steps_per_epoch
        steps = (self._num_steps - self._step) * self._batch_size * self._seconds_per_image
        return steps + (self._num_epochs - epochs_done) * self._eval_seconds

    def _redraw(self) -> None:
        if self._live is not None:
            self._live.refresh()

    def _render(self) -> "Table":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width = self._console.rich.width - 1
        smallest, largest = _BAR_WIDTHS
        room = width - smallest
        shown = {}
        # The most wanted first; what finds no room is left out.
        for name, (text, usual) in self._parts().items():
            if room >= max(len(text), usual) + 2:
                shown[name] = text.ljust(usual)
                room -= len(shown[name]) + 2
        if self._phase:
            kept = {name: shown[name] for name in ("epoch", "step") if name in shown}
            shown = kept | ({"phase": self._phase} if len(kept) == 2 else {})
        bar = ProgressBar(total=self._num_steps, completed=self._step, width=min(largest, smallest + room))
        cells: list[Any] = [Text(shown[name], no_wrap=True) for name in _PARTS_SHOWN if name in shown]
        if room >= 0:
            cells.insert(1, bar)
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(*cells)
        return grid

    def _parts(self) -> dict[str, tuple[str, int]]:
        """Each text, and the room that it is given from the start, so that the bar keeps its length."""
        return {
            "epoch": (self._epoch_text(), len(f"epoch {self._num_epochs}/{self._num_epochs}")),
            "step": (self._step_text(), len(f"{self._num_steps}/{self._num_steps}")),
            "metrics": (self._metrics, len("loss 0.0000  acc 99.99%")),
            "left": (self._time_left(), len("10:00 left")),
            "rate": (self._rate, len("10,000 img/s")),
        }

    def _epoch_text(self) -> str:
        epoch = min(max(self._step - 1, 0) // self._steps_per_epoch + 1, self._num_epochs)
        return f"epoch {epoch}/{self._num_epochs}"

    def _step_text(self) -> str:
        return f"{self._step}/{self._num_steps}"

    def _time_left(self) -> str:
        seconds = self.seconds_left()
        if seconds is None:
            return ""
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{rest:02d} left" if hours else f"{minutes}:{rest:02d} left"
