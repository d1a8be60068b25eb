"""The terminal output of a run: the box, the opening, the model's table, the epochs, the closing.

Everything is printed here, by process 0 only, from plain numbers and strings. It must never harm the run: a
closed pipe, a terminal that went away, a full disk under a redirected output or an encoding without the
characters end or bend the printing, and the run goes on.
"""

import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from mnist_jax.terminal.format import (
    describe_disputed,
    format_duration,
    format_percent,
    printable,
    quote_word,
)
from mnist_jax.terminal.streams import PatientStream

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

_LABEL_WIDTH = 10
_BOX_WIDTH = 78


@dataclass(frozen=True)
class RunDescription:
    """A run in plain values, for the terminal."""

    version: str  # of this package
    device: str  # one line, as ``environment.describe_device`` has it
    num_devices: int  # devices of all processes
    num_processes: int  # processes of the run
    data_name: str  # the data set's name
    data_source: str  # where it came from
    data_sha256: str  # its hash; the first 12 digits are shown
    num_examples: Mapping[str, int]  # examples by split, in the order to show
    image_shape: Sequence[int]  # height, width, channels
    num_classes: int  # classes of the data
    model_name: str  # the model's name
    num_params: int  # trainable parameters
    dtype: str  # what the model computes in
    num_epochs: int  # epochs of the complete run
    steps_per_epoch: int  # optimizer steps an epoch
    batch_size: int  # images a step, over all devices
    workdir: str  # the folder of the run
    fallback: str = ""  # one line to repeat at the end where the data is not what was asked for


class RunConsole:
    """Prints to one stream, in color and with a live bar on a terminal, as plain lines anywhere else."""

    def __init__(self, *, enabled: bool = True, file: IO[str] | None = None):
        """Prints to ``file``, by default standard output; nothing in processes where it is not enabled."""
        stream = file or sys.stdout
        # sys.stdout is None where the program was started without one.
        self._stream = PatientStream(stream) if enabled and stream is not None else None
        self._rich: Console | None = None
        # Whether this is a terminal on which a line can be redrawn.
        self.live = self._stream is not None and self._stream.isatty() and not self.rich.is_dumb_terminal

    @property
    def enabled(self) -> bool:
        """Whether anything is printed: also ``False`` once the stream has been closed from the other end."""
        return self._stream is not None and not self._stream.broken

    @property
    def rich(self) -> "Console":
        """The rich console, made when first needed: rich takes a tenth of a second to import."""
        if self._rich is None:
            from rich.console import Console

            # In a notebook plain lines, as in a pipe: rich would show every refresh as a block of its own.
            self._rich = Console(file=self._stream, highlight=False, force_jupyter=False)  # type: ignore[arg-type]
        return self._rich

    @property
    def width(self) -> int:
        """Columns to fill; 80 where the stream is not a terminal, whatever terminal may be near."""
        return self.rich.width if self.live else 80

    def open_live(self, render: Callable[[], Any]) -> "Live | Any":
        """Shows what ``render`` returns on the last line until ``stop()``; ``refresh()`` draws it again."""
        from rich.live import Live

        live = Live(
            get_renderable=render,
            console=self.rich,
            auto_refresh=False,
            transient=True,
            # Other programs' lines on the terminal go above the bar; a redirected stderr stays where it
            # goes.
            redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
        )
        live.start()
        # A run that is killed could not bring a hidden cursor back.
        self.rich.show_cursor(True)
        return live

    def print(self, *parts: str | tuple[str, str]) -> None:
        """Prints one line of texts and ``(text, style)`` pairs; never wrapped, never taken for markup."""
        if self.enabled:
            from rich.text import Text

            pairs = [(part, "") if isinstance(part, str) else part for part in parts]
            shown = Text.assemble(*((printable(text), style) for text, style in pairs))
            self.rich.print(shown, soft_wrap=True)

    def notice(self, text: str, title: str = "NOTICE") -> None:
        """Prints a box that cannot be missed."""
        if not self.enabled:
            return
        from rich import box
        from rich.panel import Panel
        from rich.text import Text

        width = min(self.width, _BOX_WIDTH)
        style = "bold yellow"
        lines = Text("\n".join(map(printable, text.split("\n"))))
        panel = Panel(lines, title=title, box=box.HEAVY, border_style=style, width=width, padding=(1, 2))
        self.rich.print(panel)

    def opening(self, run: RunDescription, resume_step: int = 0) -> None:
        """Prints what is about to happen; a run that is resumed goes on from ``resume_step``."""
        num_steps = run.num_epochs * run.steps_per_epoch
        shape = "x".join(str(size) for size in run.image_shape)
        counts = ", ".join(f"{count:,} {split}" for split, count in run.num_examples.items())
        where = f"{_count(run.num_devices, 'device')} in {_count(run.num_processes, 'process', 'processes')}"
        alone = run.num_devices == run.num_processes == 1
        self.print((f"mnist_jax {run.version}", "bold"))
        self.row("device", run.device if alone else f"{run.device}; {where}")
        self.row("data", f"{run.data_name}: {counts}; {shape}, {run.num_classes} classes")
        self.row("", f"{run.data_source} (sha256 {run.data_sha256[:12]})")
        self.row("model", f"{run.model_name}: {run.num_params:,} trainable parameters, {run.dtype}")
        epochs = f"{_count(run.num_epochs, 'epoch')} of {_count(run.steps_per_epoch, 'step')}"
        self.row("steps", f"{num_steps:,} = {epochs} of {_count(run.batch_size, 'image')}")
        self.row("workdir", run.workdir)
        if resume_step:
            self.row("resume", f"going on from step {resume_step:,} of {num_steps:,}")
        self.print()

    def model_summary(
        self,
        rows: Sequence[tuple[str, str, Sequence[int | None], int]],
        *,
        num_trainable: int,
        num_non_trainable: int,
    ) -> None:
        """Prints the model's layers, see ``model_summary_lines``."""
        if not self.enabled:
            return
        lines = model_summary_lines(rows, num_trainable=num_trainable, num_non_trainable=num_non_trainable)
        for number, line in enumerate(lines):
            rule = set(line) == {"-"}
            text = line.replace("-", "─") if rule and not self.rich.options.ascii_only else line
            self.print((text, "bold" if number == 0 else "dim" if rule else ""))
        self.print()

    def note(self, text: str) -> None:
        """Prints a sentence that is worth knowing, such as what was mended."""
        for line in self._wrapped(text):
            self.print((line, "yellow"))

    def closing(
        self, run: RunDescription, summary: Mapping[str, Any], files: Sequence[str], best: str = ""
    ) -> None:
        """Prints what the run reached, as in ``summary.json``, on its best checkpoint, and its ``files``."""
        self.print()
        score = f"test accuracy {format_percent(summary['test_accuracy'])}"
        errors = f"{summary['test_errors']:,} errors in {run.num_examples['test']:,}"
        self.print((score, "bold green"), f"  {errors}, loss {summary['test_loss']:.4f}")
        if disputed := summary.get("disputed_labels"):
            self.row("of these", describe_disputed(disputed))
        for warning in summary.get("warnings", ()):
            self.row("warning", warning, "bold yellow")
        if run.fallback:
            self.row("data", run.fallback, "bold yellow")
        if best:
            self.row("best", best)
        if stopping := summary.get("early_stopping"):
            ended = f"early, after epoch {stopping['stopped_epoch']}; " if stopping["stopped_epoch"] else ""
            self.row("stopped" if ended else "kept", f"{ended}epoch {stopping['kept_epoch']} is kept")
        times = ("train", "training"), ("compile", "compiling"), ("eval", "evaluating")
        spent = [f"{format_duration(summary[f'{name}_seconds'])} {work}" for name, work in times]
        self.row("time", ", ".join(spent))
        self.row("speed", f"{summary['images_per_second']:,.0f} images/s while training")
        self.row("files", run.workdir)
        self.row("", "  ".join(files))
        self.row("next", f"python -m mnist_jax.evaluate --workdir {quote_word(run.workdir)}")

    def row(self, label: str, text: str, style: str = "") -> None:
        """Prints a label and its text; on a terminal what is too long goes on below the text."""
        for number, line in enumerate(self._wrapped(text, _LABEL_WIDTH + 2)):
            self.print((f"  {'' if number else label:<{_LABEL_WIDTH}}", "dim"), (line, style))

    def _wrapped(self, text: str, indent: int = 0) -> list[str]:
        """Splits a text between words; a file or a pipe gets it as one line, for grep."""
        if not self.live:
            return [text]
        width = max(self.width - indent, 20)
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def model_summary_lines(
    rows: Sequence[tuple[str, str, Sequence[int | None], int]], *, num_trainable: int, num_non_trainable: int
) -> list[str]:
    """Formats a table of a model's layers as Keras prints one, at most 78 columns wide.

    Not ``nn.tabulate``, which cuts every cell on a terminal of 80 columns. A row is name, type, output shape
    (``None`` for the batch) and number of parameters of a layer, BatchNorm's statistics included.
    """
    cells = [("layer", "type", "output shape", "parameters")]
    cells += [(name, kind, _shape(shape), f"{count:,}") for name, kind, shape, count in rows]
    widths = [
        min(max(len(row[column]) for row in cells), limit) for column, limit in enumerate((24, 18, 20, 10))
    ]

    def line(row: tuple[str, str, str, str]) -> str:
        *left, last = (_clip(cell, width) for cell, width in zip(row, widths, strict=True))
        return "  ".join(
            [*(cell.ljust(width) for cell, width in zip(left, widths, strict=False)), last.rjust(widths[3])]
        )

    rule = "-" * (sum(widths) + 6)
    totals = {
        "trainable": num_trainable,
        "not trainable": num_non_trainable,
        "total": num_trainable + num_non_trainable,
    }
    lines = [line(cells[0]), rule, *(line(row) for row in cells[1:]), rule]
    return lines + [f"{name:<{len(rule) - 16}}{count:>16,}" for name, count in totals.items()]


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _shape(shape: Sequence[int | None]) -> str:
    return f"({', '.join(str(size) for size in shape)})"


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."
