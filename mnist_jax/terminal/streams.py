"""Standard streams that cannot harm a run: closed, disconnected, full, or of a small character set."""

import contextlib
import os
import sys
from typing import IO


def hold_standard_streams() -> None:
    """Opens the null device where the program was started with standard streams closed; call it first of all.

    Otherwise the first file that the run opens gets the free number, and what a library prints lands in that
    file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one


class PatientStream:
    """A text stream that swallows its own faults: after the first it prints nothing more."""

    def __init__(self, stream: IO[str]):
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.broken = False

    def isatty(self) -> bool:
        """Whether this is a terminal that still answers."""
        try:
            return self._stream.isatty()
        except (OSError, ValueError, AttributeError):
            return False

    def fileno(self) -> int:
        """The number of the file below; raises as that does where there is none."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Writes the text, with escapes for characters that the encoding lacks."""
        if not self.broken:
            try:
                self._stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError):
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Writes out what is buffered."""
        if not self.broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def _give_up(self) -> None:
        self.broken = True
        # While a live bar is shown, rich has put a stream of its own in place of sys.stdout.
        if self._stream in (sys.stdout, sys.__stdout__):
            # What is still in the buffer would fail once more when Python exits and turn exit code 0 into
            # 120.
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)
